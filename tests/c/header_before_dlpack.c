/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The header compiles before DLPack's. */
#include <shm/shm.h>

#include <dlpack/dlpack.h>

#include "header_use_dlpack.h"

int main(void) {
    return header_use();
}
