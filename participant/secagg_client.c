#include "participant/secagg_client.h"
