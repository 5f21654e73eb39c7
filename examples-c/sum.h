/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What plain_client asks and plain_server replies, as bytes in shared memory. Plain data, the same in each process. */
#ifndef SUM_H
#define SUM_H

#include <stdint.h>

struct sum_request {
    int32_t a, b;
};

struct sum_reply {
    int32_t sum;
};

/* The code with which the function fails. */
enum { SUM_BAD_REQUEST = 1, SUM_OVERFLOW = 2 };

#endif
