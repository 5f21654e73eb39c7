/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The header compiles after DLPack's. */
#include <dlpack/dlpack.h>

#include <shm/shm.h>

#include "header_use_dlpack.h"

int main(void) {
    return header_use();
}
