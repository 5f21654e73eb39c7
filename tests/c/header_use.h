/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Uses our names and the system's beside each other. */

static int header_use(void) {
    int (*open_system)(const char *, int, mode_t) = shm_open;
    int (*unlink_system)(const char *) = shm_unlink;
    int (*attach_flags)[SHM_RDONLY + 1] = NULL;
    shm_publisher_options options;
    int32_t status = shm_publisher_options_init(&options);
    if (status != SHM_OK || options.struct_size != sizeof(struct shm_publisher_options)) return 1;
    return open_system == NULL || unlink_system == NULL || attach_flags != NULL || SHM_HISTORY_ALL != UINT32_MAX;
}
