/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What add_client asks and add_server replies, as bytes in shared memory. Plain data, the same in each process. */
#ifndef ADD_H
#define ADD_H

#include <stdint.h>

struct add_request {
    int32_t a, b;
};

struct add_reply {
    int32_t sum;
};

/* The code with which the function fails. */
enum { ADD_BAD_REQUEST = 1, ADD_OVERFLOW = 2 };

#endif
