/* One harness per parser, in libFuzzer's form:
 *
 *   clang -fsanitize=fuzzer,address … fuzz_message.c && ./a.out tests/fuzz/corpus/message
 *
 * As an ordinary test, replay.c runs the harness on the corpus and on mutants of it. */
#ifndef PF_TESTS_FUZZ_H
#define PF_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#endif
