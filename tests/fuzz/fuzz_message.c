/* Fuzzes pf_message_decode: any frame is refused, or is a message that can be sent again. */
#include <stdlib.h>

#include "fuzz.h"
#include "proto/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct pf_message message;
    struct pf_error err;
    if (pf_message_decode(bytes, length, &message, &err) != PF_OK) return 0;
    struct pf_buffer again = {0};
    if (pf_message_encode(&message, &again, &err) != PF_OK) abort();
    pf_buffer_finish(&again);
    pf_message_finish(&message);
    return 0;
}
