/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The header compiles alone, twice, and before the system's headers that have shm in their names. */
#include <shm/shm.h>
#include <shm/shm.h>

#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include "header_use.h"

int main(void) {
    return header_use();
}
