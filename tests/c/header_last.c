/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The header compiles after the system's headers that have shm in their names. */
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include <shm/shm.h>

#include "header_use.h"

int main(void) {
    return header_use();
}
