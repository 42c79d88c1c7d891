#include "proto/round_context.h"
