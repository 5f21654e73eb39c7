/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Publishes from memory that only a copier of one's own reaches, and receives into such memory: here that of a "device" that keeps all
   bytes inverted. Usage: copier [topic] [count] */
#include "support.h"

#include <string.h>

/* What a real one would tell its driver. */
struct device {
    int blocks, written, read;
};

static void invert(unsigned char *dst, const unsigned char *src, size_t size) {
    for (size_t i = 0; i < size; i++) dst[i] = (unsigned char)~src[i];
}

static int32_t device_alloc(void *user_data, size_t size, void **memory) {
    struct device *device = user_data;
    *memory = malloc(size);
    if (*memory == NULL) return 1; /* a number of its own: see shm_last_error_code */
    device->blocks++;
    return 0;
}

static int32_t device_dealloc(void *user_data, void *memory, size_t size) {
    struct device *device = user_data;
    (void)size;
    free(memory);
    device->blocks--;
    return 0;
}

static int32_t device_copy(void *user_data, void *dst, const void *src, size_t size) {
    (void)user_data;
    invert(dst, src, size);
    return 0;
}

static int32_t device_pin(void *user_data, void *memory, size_t size, int32_t is_writable) {
    struct device *device = user_data;
    (void)memory, (void)size;
    if (is_writable) {
        device->written++;
    } else {
        device->read++;
    }
    return 0;
}

static void device_destroy(void *user_data) {
    const struct device *device = user_data;
    printf("mappings: %d to write, %d to read; blocks left: %d\n", device->written, device->read, device->blocks);
}

static shm_copier *new_copier(struct device *device) {
    shm_copier_ops ops;
    check(shm_copier_ops_init(&ops), "ops");
    ops.user_data = device;
    ops.alloc = device_alloc;
    ops.dealloc = device_dealloc;
    ops.shm_to_user = device_copy;
    ops.user_to_shm = device_copy;
    ops.pin = device_pin;
    ops.destroy = device_destroy;
    shm_copier *copier;
    check(shm_copier_create(&ops, &copier), "copier");
    return copier;
}

int main(int argc, char **argv) {
    struct arguments given = arguments(argc, argv, "/copier");
    struct device device = {0, 0, 0};
    shm_copier *copier = new_copier(&device);
    shm_subscriber *subscriber;
    shm_publisher *publisher;
    check(shm_subscriber_create(given.topic, NULL, &subscriber), given.topic);
    check(shm_publisher_create(given.topic, NULL, &publisher), given.topic);

    for (uint64_t n = 0; n < given.count; n++) {
        char text[32];
        size_t size = (size_t)snprintf(text, sizeof text, "hello %" PRIu64, n);
        void *from;
        check(shm_copier_alloc(copier, size, &from), "alloc");
        invert(from, (const unsigned char *)text, size);
        check(shm_publisher_publish_from(publisher, copier, from, size, NULL), "publish");
        check(shm_copier_dealloc(copier, from, size), "dealloc");

        shm_sample *sample;
        check(shm_subscriber_receive_timeout(subscriber, TEN_SECONDS, &sample), "receive");
        size = shm_sample_size(sample);
        void *to;
        check(shm_copier_copy_out(copier, shm_sample_data(sample), size, &to), "copy out");
        shm_sample_release(sample);
        memset(text, 0, sizeof text);
        invert((unsigned char *)text, to, size < sizeof text ? size : sizeof text - 1);
        check(shm_copier_dealloc(copier, to, size), "dealloc");
        printf("received %" PRIu64 " %s\n", n, text);
    }

    shm_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
    shm_copier_destroy(copier);
    return 0;
}
