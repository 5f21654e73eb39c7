/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "fake_copier.h"

#define GUARD 64
#define GUARD_BYTE 0xa5
#define CHANGE 0x3c
/* No processor's address: reading or writing there ends the program. */
#define DEVICE ((uintptr_t)1 << 63)

static void lock(struct fake *fake) {
    CHECK(pthread_mutex_lock(&fake->mutex) == 0);
    CHECK(fake->counts.destroy == 0);
}

static void unlock(struct fake *fake) {
    CHECK(pthread_mutex_unlock(&fake->mutex) == 0);
}

static void *device(const void *address) {
    return (void *)((uintptr_t)address ^ DEVICE);
}

static void *allocate(struct fake *fake, size_t size) {
    unsigned char *memory = malloc(size + 2 * GUARD);
    CHECK(memory != NULL);
    memset(memory, GUARD_BYTE, size + 2 * GUARD);
    for (int i = 0; i < FAKE_LIST; i++) {
        if (fake->blocks[i].start != NULL) continue;
        fake->blocks[i] = (struct block){(char *)memory, size};
        return device(memory + GUARD);
    }
    check_failed(__FILE__, __LINE__, "too many blocks");
    return NULL;
}

/* The block that all of `size` bytes at the device's address lie in. */
static struct block *block_of(struct fake *fake, const void *address, size_t size) {
    uintptr_t start = (uintptr_t)device(address);
    for (int i = 0; i < FAKE_LIST; i++) {
        struct block *block = &fake->blocks[i];
        uintptr_t from = (uintptr_t)block->start + GUARD;
        if (block->start != NULL && start >= from && start - from <= block->size && block->size - (start - from) >= size) return block;
    }
    check_failed(__FILE__, __LINE__, "no memory of this copier's");
    return NULL;
}

static void release(struct fake *fake, void *address, size_t size) {
    struct block *block = block_of(fake, address, size);
    const unsigned char *start = device(address);
    CHECK(block->start + GUARD == (const char *)start && block->size == size);
    for (int i = 1; i <= GUARD; i++) CHECK(start[-i] == GUARD_BYTE && start[size + (size_t)i - 1] == GUARD_BYTE);
    free(block->start);
    block->start = NULL;
}

static void change(void *dst, const void *src, size_t size) {
    for (size_t i = 0; i < size; i++) ((unsigned char *)dst)[i] = ((const unsigned char *)src)[i] ^ CHANGE;
}

/* Shared memory that the copier wants pinned has been, as what it is used for needs. */
static void check_shared(struct fake *fake, const void *shared, size_t size, int is_written) {
    CHECK(size > 0 && (!is_written || (uintptr_t)shared % 64 == 0));
    if (fake->counts.pin == 0) return;
    for (int i = 0; i < fake->mapping_count; i++) {
        const struct pinned *mapping = &fake->mappings[i];
        uintptr_t from = (uintptr_t)mapping->start, at = (uintptr_t)shared;
        if (mapping->is_pinned < 0 || at < from || at - from >= mapping->size) continue;
        CHECK(mapping->size - (at - from) >= size && mapping->is_writable >= is_written);
        return;
    }
    check_failed(__FILE__, __LINE__, "a copy from or to what the copier wasn't told of");
}

static int32_t fake_alloc(void *user_data, size_t size, void **memory) {
    struct fake *fake = user_data;
    lock(fake);
    fake->counts.alloc++;
    CHECK(size > 0);
    fake->last_size = size;
    int32_t status = fake->fails.alloc;
    if (status == 0) *memory = fake->gives_null ? NULL : allocate(fake, size);
    unlock(fake);
    return status;
}

static int32_t fake_dealloc(void *user_data, void *memory, size_t size) {
    struct fake *fake = user_data;
    lock(fake);
    fake->counts.dealloc++;
    int32_t status = fake->fails.dealloc;
    if (status == 0) release(fake, memory, size);
    unlock(fake);
    return status;
}

static void copy(struct fake *fake, const struct job *job) {
    const void *user = job->to_shm ? job->src : job->dst;
    block_of(fake, user, job->size);
    check_shared(fake, job->to_shm ? job->dst : job->src, job->size, job->to_shm);
    fake->last_size = job->size;
    if (job->to_shm) {
        change(job->dst, device(job->src), job->size);
    } else {
        change(device(job->dst), job->src, job->size);
    }
}

static int32_t fake_shm_to_user(void *user_data, void *dst, const void *src, size_t size) {
    struct fake *fake = user_data;
    lock(fake);
    fake->counts.shm_to_user++;
    int32_t status = fake->fails.shm_to_user;
    if (status == 0) copy(fake, &(struct job){.dst = dst, .src = src, .size = size, .to_shm = 0});
    unlock(fake);
    return status;
}

static int32_t fake_user_to_shm(void *user_data, void *dst, const void *src, size_t size) {
    struct fake *fake = user_data;
    lock(fake);
    fake->counts.user_to_shm++;
    int32_t status = fake->fails.user_to_shm;
    if (status == 0) copy(fake, &(struct job){.dst = dst, .src = src, .size = size, .to_shm = 1});
    unlock(fake);
    return status;
}

static void enqueue(struct fake *fake, void *stream, struct job job) {
    struct stream *queue = stream == NULL ? &fake->streams[0] : stream;
    CHECK(queue >= fake->streams && queue < fake->streams + FAKE_STREAMS && job.size > 0);
    CHECK(queue->begun - queue->ended < FAKE_LIST);
    queue->jobs[queue->begun++ % FAKE_LIST] = job;
    CHECK(pthread_cond_broadcast(&fake->changed) == 0);
}

static int32_t fake_shm_to_user_on_stream(void *user_data, void *dst, const void *src, size_t size, void *stream,
                                          shm_done done, void *done_data) {
    struct fake *fake = user_data;
    lock(fake);
    fake->counts.shm_to_user_on_stream++;
    int32_t status = fake->fails.shm_to_user_on_stream;
    if (status == 0) enqueue(fake, stream, (struct job){dst, src, size, done, done_data, 0});
    unlock(fake);
    return status;
}

static int32_t fake_user_to_shm_on_stream(void *user_data, void *dst, const void *src, size_t size, void *stream,
                                          shm_done done, void *done_data) {
    struct fake *fake = user_data;
    lock(fake);
    fake->counts.user_to_shm_on_stream++;
    int32_t status = fake->fails.user_to_shm_on_stream;
    if (status == 0) enqueue(fake, stream, (struct job){dst, src, size, done, done_data, 1});
    unlock(fake);
    return status;
}

static int32_t fake_pin(void *user_data, void *memory, size_t size, int32_t is_writable) {
    struct fake *fake = user_data;
    lock(fake);
    fake->counts.pin++;
    CHECK(size > 0 && (uintptr_t)memory % 4096 == 0 && (is_writable == 0 || is_writable == 1));
    const char *start = memory;
    for (int i = 0; i < fake->mapping_count; i++) {
        const struct pinned *other = &fake->mappings[i];
        if (other->is_pinned < 0) continue; /* it went, and its address may be another's now */
        CHECK(start + size <= other->start || start >= other->start + other->size);
    }
    /* All of it is there, as it says. */
    volatile char *last = (char *)memory + size - 1;
    char found = *last;
    if (is_writable) *last = found;
    CHECK(fake->mapping_count < FAKE_LIST);
    int32_t status = fake->fails.pin;
    fake->mappings[fake->mapping_count++] = (struct pinned){memory, size, is_writable, status == 0};
    unlock(fake);
    return status;
}

static int32_t fake_unpin(void *user_data, void *memory, size_t size) {
    struct fake *fake = user_data;
    lock(fake);
    fake->counts.unpin++;
    volatile char *start = memory;
    (void)(start[0] + start[size - 1]);
    int found = 0;
    for (int i = 0; i < fake->mapping_count; i++) {
        struct pinned *mapping = &fake->mappings[i];
        if (mapping->start != memory || mapping->is_pinned != 1) continue;
        CHECK(mapping->size == size);
        mapping->is_pinned = -1;
        found++;
    }
    CHECK(found == 1);
    int32_t status = fake->fails.unpin;
    unlock(fake);
    return status;
}

static void fake_destroy(void *user_data) {
    struct fake *fake = user_data;
    lock(fake);
    fake->counts.destroy++;
    for (int i = 0; i < fake->mapping_count; i++) CHECK(fake->mappings[i].is_pinned != 1);
    CHECK(pthread_cond_broadcast(&fake->changed) == 0);
    CHECK(pthread_mutex_unlock(&fake->mutex) == 0);
}

/* The next copy that may end; `mutex` is held. */
static struct stream *next_stream(struct fake *fake) {
    for (int i = 0; i < FAKE_STREAMS; i++) {
        struct stream *stream = &fake->streams[i];
        if (stream->ended < stream->begun && stream->ended < stream->allowed) return stream;
    }
    return NULL;
}

/* The device: makes copies in the order of each stream, when it may. */
static void *run_device(void *argument) {
    struct fake *fake = argument;
    CHECK(pthread_mutex_lock(&fake->mutex) == 0);
    for (;;) {
        struct stream *stream = next_stream(fake);
        if (stream == NULL) {
            if (fake->is_over) break;
            CHECK(pthread_cond_wait(&fake->changed, &fake->mutex) == 0);
            continue;
        }
        struct job job = stream->jobs[stream->ended % FAKE_LIST];
        int32_t status = fake->ends_with;
        if (status == 0) copy(fake, &job);
        CHECK(pthread_mutex_unlock(&fake->mutex) == 0);
        job.done(job.done_data, status);
        CHECK(pthread_mutex_lock(&fake->mutex) == 0);
        stream->ended++;
        CHECK(pthread_cond_broadcast(&fake->changed) == 0);
    }
    CHECK(pthread_mutex_unlock(&fake->mutex) == 0);
    return NULL;
}

void fake_init(struct fake *fake) {
    memset(fake, 0, sizeof *fake);
    CHECK(pthread_mutex_init(&fake->mutex, NULL) == 0 && pthread_cond_init(&fake->changed, NULL) == 0);
}

void fake_end(struct fake *fake) {
    CHECK(pthread_mutex_lock(&fake->mutex) == 0);
    fake->is_over = 1;
    CHECK(pthread_cond_broadcast(&fake->changed) == 0);
    CHECK(pthread_mutex_unlock(&fake->mutex) == 0);
    if (fake->has_thread) CHECK(pthread_join(fake->thread, NULL) == 0);
    for (int i = 0; i < FAKE_LIST; i++) CHECK(fake->blocks[i].start == NULL);
    CHECK(fake->counts.destroy == 1);
    CHECK(pthread_cond_destroy(&fake->changed) == 0 && pthread_mutex_destroy(&fake->mutex) == 0);
}

shm_copier_ops fake_ops(struct fake *fake, int kind) {
    shm_copier_ops ops;
    CHECK_STATUS(shm_copier_ops_init(&ops), SHM_OK);
    ops.user_data = fake;
    ops.alloc = fake_alloc;
    ops.dealloc = fake_dealloc;
    ops.shm_to_user = fake_shm_to_user;
    ops.user_to_shm = fake_user_to_shm;
    if (kind & FAKE_PINS) ops.pin = fake_pin, ops.unpin = fake_unpin;
    if (kind & FAKE_STREAMED) {
        ops.shm_to_user_on_stream = fake_shm_to_user_on_stream;
        ops.user_to_shm_on_stream = fake_user_to_shm_on_stream;
    }
    ops.destroy = fake_destroy;
    return ops;
}

shm_copier *fake_create(struct fake *fake, int kind) {
    fake_init(fake);
    shm_copier_ops ops = fake_ops(fake, kind);
    shm_copier *copier = NULL;
    CHECK_STATUS(shm_copier_create(&ops, &copier), SHM_OK);
    CHECK(copier != NULL);
    memset(&ops, 0xff, sizeof ops); /* it was only read during the call */
    if (kind & FAKE_STREAMED) {
        CHECK(pthread_create(&fake->thread, NULL, run_device, fake) == 0);
        fake->has_thread = 1;
    }
    return copier;
}

struct counts fake_counts(struct fake *fake) {
    CHECK(pthread_mutex_lock(&fake->mutex) == 0);
    struct counts counts = fake->counts;
    CHECK(pthread_mutex_unlock(&fake->mutex) == 0);
    return counts;
}

void *fake_stream(struct fake *fake, int number) {
    return number == 0 ? NULL : &fake->streams[number];
}

void fake_allow(struct fake *fake, int number, int count) {
    CHECK(pthread_mutex_lock(&fake->mutex) == 0);
    fake->streams[number].allowed += count;
    CHECK(pthread_cond_broadcast(&fake->changed) == 0);
    CHECK(pthread_mutex_unlock(&fake->mutex) == 0);
}

void fake_await(struct fake *fake, int number) {
    CHECK(pthread_mutex_lock(&fake->mutex) == 0);
    const struct stream *stream = &fake->streams[number];
    while (stream->ended < stream->allowed) CHECK(pthread_cond_wait(&fake->changed, &fake->mutex) == 0);
    CHECK(pthread_mutex_unlock(&fake->mutex) == 0);
}

void *fake_fill(struct fake *fake, const void *content, size_t size) {
    CHECK(pthread_mutex_lock(&fake->mutex) == 0);
    void *memory = allocate(fake, size);
    change(device(memory), content, size);
    CHECK(pthread_mutex_unlock(&fake->mutex) == 0);
    return memory;
}

void fake_write(struct fake *fake, void *memory, const void *content, size_t size) {
    CHECK(pthread_mutex_lock(&fake->mutex) == 0);
    block_of(fake, memory, size);
    change(device(memory), content, size);
    CHECK(pthread_mutex_unlock(&fake->mutex) == 0);
}

void fake_check(struct fake *fake, void *memory, const void *content, size_t size) {
    CHECK(pthread_mutex_lock(&fake->mutex) == 0);
    const unsigned char *found = device(memory);
    for (size_t i = 0; i < size; i++) CHECK((found[i] ^ CHANGE) == ((const unsigned char *)content)[i]);
    release(fake, memory, size);
    CHECK(pthread_mutex_unlock(&fake->mutex) == 0);
}
