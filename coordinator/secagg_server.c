#include "coordinator/secagg_server.h"
