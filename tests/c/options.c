/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Options, names, and the sizes of structs. */
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char marker;
#define UNTOUCHED ((void *)&marker)

static int32_t try_publisher(const char *topic, const shm_publisher_options *options) {
    shm_publisher *publisher = UNTOUCHED;
    int32_t status = shm_publisher_create(topic, options, &publisher);
    if (status == SHM_OK) {
        shm_publisher_destroy(publisher);
    } else {
        CHECK(publisher == UNTOUCHED);
    }
    return status;
}

static int32_t try_subscriber(const char *topic, const shm_subscriber_options *options) {
    shm_subscriber *subscriber = UNTOUCHED;
    int32_t status = shm_subscriber_create(topic, options, &subscriber);
    if (status == SHM_OK) {
        shm_subscriber_destroy(subscriber);
    } else {
        CHECK(subscriber == UNTOUCHED);
    }
    return status;
}

static void defaults(void) {
    shm_publisher_options publisher;
    memset(&publisher, 0xff, sizeof publisher);
    publisher = publisher_defaults();
    CHECK(publisher.struct_size == sizeof publisher && publisher.root == NULL);
    CHECK(publisher.capacity == 0 && publisher.participants == 0 && publisher.holds == 0);
    CHECK(publisher.timestamps == 0 && publisher.memory == 0 && publisher.mode == 0);
    CHECK(publisher.has_group == 0 && publisher.group == 0 && publisher.reserved == 0);
    CHECK_STATUS(try_publisher("/defaults", &publisher), SHM_OK);

    shm_subscriber_options subscriber;
    memset(&subscriber, 0xff, sizeof subscriber);
    subscriber = subscriber_defaults();
    CHECK(subscriber.struct_size == sizeof subscriber && subscriber.root == NULL);
    CHECK(subscriber.capacity == 0 && subscriber.participants == 0 && subscriber.holds == 0);
    CHECK(subscriber.history == 0 && subscriber.mode == 0);
    CHECK(subscriber.has_group == 0 && subscriber.group == 0 && subscriber.reliable == 0);
    CHECK_STATUS(try_subscriber("/defaults", &subscriber), SHM_OK);
}

static void names(void) {
    char endless[8192];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    const char *bad[] = {"", "\xff\xfe", endless};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_STATUS(try_publisher(bad[i], NULL), SHM_ERR_INVALID_NAME);
        CHECK_STATUS(try_subscriber(bad[i], NULL), SHM_ERR_INVALID_NAME);
    }
    CHECK_STATUS(try_publisher("caf\xe9", NULL), SHM_ERR_INVALID_NAME);
    CHECK(strstr(shm_last_error_message(), "\"caf\\xe9\": it isn't UTF-8 from byte 3 on") != NULL);
    CHECK_STATUS(try_publisher("/b\xc3\xbchne/cam era", NULL), SHM_OK);
}

static void values(void) {
    shm_publisher_options publisher = publisher_defaults();
    publisher.capacity = 3;
    CHECK_STATUS(try_publisher("/values", &publisher), SHM_ERR_INVALID_OPTION);
    CHECK(strstr(shm_last_error_message(), "capacity") != NULL);
    publisher = publisher_defaults();
    publisher.participants = 1025;
    CHECK_STATUS(try_publisher("/values", &publisher), SHM_ERR_INVALID_OPTION);
    publisher = publisher_defaults();
    publisher.holds = 257;
    CHECK_STATUS(try_publisher("/values", &publisher), SHM_ERR_INVALID_OPTION);
    publisher = publisher_defaults();
    publisher.timestamps = 2;
    CHECK_STATUS(try_publisher("/values", &publisher), SHM_ERR_INVALID_OPTION);
    CHECK(strstr(shm_last_error_message(), "timestamps") != NULL);

    shm_subscriber_options subscriber = subscriber_defaults();
    subscriber.capacity = 3;
    CHECK_STATUS(try_subscriber("/values", &subscriber), SHM_ERR_INVALID_OPTION);
    subscriber = subscriber_defaults();
    subscriber.participants = 1025;
    CHECK_STATUS(try_subscriber("/values", &subscriber), SHM_ERR_INVALID_OPTION);
    subscriber = subscriber_defaults();
    subscriber.holds = 257;
    CHECK_STATUS(try_subscriber("/values", &subscriber), SHM_ERR_INVALID_OPTION);
    subscriber = subscriber_defaults();
    subscriber.reliable = 2;
    CHECK_STATUS(try_subscriber("/values", &subscriber), SHM_ERR_INVALID_OPTION);
    CHECK(strstr(shm_last_error_message(), "reliable is 2") != NULL);
    subscriber.reliable = 1;
    CHECK_STATUS(try_subscriber("/values", &subscriber), SHM_OK);
}

/* Who shares a topic is said in full or not at all. */
static void shares(void) {
    struct {
        uint32_t mode, has_group, group, reserved;
        const char *words;
    } bad[] = {{0666, 0, 0, 0, "mode is 0666, but must be 0600, 0640 or 0660"},
               {0060, 0, 0, 0, "mode"},
               {0660, 0, 0, 0, "with the option `group`, and only with it, 0660"},
               {0600, 1, 7, 0, "with the option `group`, and only with it, 0660"},
               {0640, 1, 7, 0, "with the option `group`, and only with it, 0660"},
               {0, 2, 0, 0, "has_group is 2"},
               {0, 0, 7, 0, "group is 7, but must be 0 unless has_group is 1"},
               {0, 1, UINT32_MAX, 0, "group"},
               {0, 0, 0, 1, "reserved"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        shm_publisher_options publisher = publisher_defaults();
        publisher.mode = bad[i].mode, publisher.has_group = bad[i].has_group;
        publisher.group = bad[i].group, publisher.reserved = bad[i].reserved;
        CHECK_STATUS(try_publisher("/shares", &publisher), SHM_ERR_INVALID_OPTION);
        CHECK(strstr(shm_last_error_message(), bad[i].words) != NULL);
        if (bad[i].reserved != 0) continue;
        shm_subscriber_options subscriber = subscriber_defaults();
        subscriber.mode = bad[i].mode, subscriber.has_group = bad[i].has_group;
        subscriber.group = bad[i].group;
        CHECK_STATUS(try_subscriber("/shares", &subscriber), SHM_ERR_INVALID_OPTION);
        CHECK(strstr(shm_last_error_message(), bad[i].words) != NULL);
    }
}

/* A topic is as who made it says; whoever comes later may ask for as much or less. */
static void existing_topic(void) {
    shm_publisher_options made = publisher_defaults();
    made.capacity = 16;
    made.participants = 2;
    made.holds = 4;
    shm_publisher *publisher = new_publisher("/existing", &made);

    shm_subscriber_options wanted = subscriber_defaults();
    wanted.capacity = 32;
    CHECK_STATUS(try_subscriber("/existing", &wanted), SHM_ERR_MISMATCH);
    wanted = subscriber_defaults();
    wanted.holds = 5;
    CHECK_STATUS(try_subscriber("/existing", &wanted), SHM_ERR_MISMATCH);
    wanted = subscriber_defaults();
    wanted.mode = 0640;
    CHECK_STATUS(try_subscriber("/existing", &wanted), SHM_ERR_MISMATCH);
    wanted.mode = 0600;
    wanted.holds = 2;
    wanted.capacity = 8;
    shm_subscriber *subscriber = new_subscriber("/existing", &wanted);
    CHECK_STATUS(try_subscriber("/existing", NULL), SHM_ERR_NO_PARTICIPANT);

    shm_topic_info theirs = {.struct_size = sizeof theirs}, ours = theirs;
    CHECK_STATUS(shm_publisher_info(publisher, &theirs), SHM_OK);
    CHECK_STATUS(shm_subscriber_info(subscriber, &ours), SHM_OK);
    CHECK(memcmp(&theirs, &ours, sizeof ours) == 0);
    CHECK(ours.capacity == 16 && ours.participants == 2 && ours.holds == 4 && ours.reserved == 0);
    CHECK(ours.struct_size == sizeof ours);

    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
}

/* Structs of a later version: their tail may be there, but must not ask for anything. */
static void longer_structs(void) {
    struct {
        shm_publisher_options known;
        unsigned char tail[24];
    } publisher = {publisher_defaults(), {0}};
    publisher.known.struct_size = sizeof publisher;
    CHECK_STATUS(try_publisher("/longer", &publisher.known), SHM_OK);
    publisher.tail[sizeof publisher.tail - 1] = 1;
    CHECK_STATUS(try_publisher("/longer", &publisher.known), SHM_ERR_INVALID_OPTION);
    CHECK(strstr(shm_last_error_message(), "newer libshm") != NULL);

    struct {
        shm_subscriber_options known;
        unsigned char tail[24];
    } subscriber = {subscriber_defaults(), {0}};
    subscriber.known.struct_size = sizeof subscriber;
    CHECK_STATUS(try_subscriber("/longer", &subscriber.known), SHM_OK);
    subscriber.tail[0] = 1;
    CHECK_STATUS(try_subscriber("/longer", &subscriber.known), SHM_ERR_INVALID_OPTION);
}

/* What lies behind a shorter struct isn't read, and what lies behind a cut member isn't either. */
static void shorter_structs(void) {
    shm_publisher_options options = publisher_defaults();
    options.capacity = 16;
    options.participants = 1025;
    options.holds = 257;
    options.timestamps = 2;
    options.struct_size = offsetof(shm_publisher_options, participants);
    shm_publisher *publisher = new_publisher("/shorter", &options);
    shm_topic_info info = {.struct_size = sizeof info};
    CHECK_STATUS(shm_publisher_info(publisher, &info), SHM_OK);
    CHECK(info.capacity == 16 && info.participants == 128 && info.holds == 8);
    shm_publisher_destroy(publisher);

    /* As it was before topics could be shared. */
    options = publisher_defaults();
    options.mode = options.has_group = options.group = options.reserved = 0777;
    options.struct_size = offsetof(shm_publisher_options, mode);
    CHECK_STATUS(try_publisher("/shorter", &options), SHM_OK);
    shm_subscriber_options subscriber = subscriber_defaults();
    subscriber.mode = subscriber.has_group = subscriber.group = subscriber.reliable = 0777;
    subscriber.struct_size = offsetof(shm_subscriber_options, mode);
    CHECK_STATUS(try_subscriber("/shorter", &subscriber), SHM_OK);
    /* And before subscribers could be reliable. */
    subscriber.mode = subscriber.has_group = subscriber.group = 0;
    subscriber.struct_size = offsetof(shm_subscriber_options, reliable);
    CHECK_STATUS(try_subscriber("/shorter", &subscriber), SHM_OK);

    options.root = (const char *)&marker + 1;
    options.struct_size = offsetof(shm_publisher_options, root) + 1;
    CHECK_STATUS(try_publisher("/shorter", &options), SHM_OK);
    options.struct_size = sizeof options.struct_size;
    CHECK_STATUS(try_publisher("/shorter", &options), SHM_OK);
}

static void absurd_structs(void) {
    const size_t sizes[] = {0, sizeof(size_t) - 1, 4097, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        shm_publisher_options publisher = publisher_defaults();
        publisher.struct_size = sizes[i];
        CHECK_STATUS(try_publisher("/absurd", &publisher), SHM_ERR_INVALID_OPTION);
        CHECK(strstr(shm_last_error_message(), "struct_size") != NULL);
        shm_subscriber_options subscriber = subscriber_defaults();
        subscriber.struct_size = sizes[i];
        CHECK_STATUS(try_subscriber("/absurd", &subscriber), SHM_ERR_INVALID_OPTION);
    }
}

static void info_of_other_sizes(void) {
    shm_publisher *publisher = new_publisher("/info", NULL);
    struct {
        shm_topic_info known;
        unsigned char tail[8];
    } longer;
    memset(&longer, 0xff, sizeof longer);
    longer.known.struct_size = sizeof longer;
    CHECK_STATUS(shm_publisher_info(publisher, &longer.known), SHM_OK);
    CHECK(longer.known.struct_size == sizeof longer && longer.known.capacity == 64);
    for (size_t i = 0; i < sizeof longer.tail; i++) CHECK(longer.tail[i] == 0);

    shm_topic_info shorter;
    memset(&shorter, 0xff, sizeof shorter);
    shorter.struct_size = offsetof(shm_topic_info, participants);
    CHECK_STATUS(shm_publisher_info(publisher, &shorter), SHM_OK);
    CHECK(shorter.capacity == 64 && shorter.participants == UINT32_MAX);

    shm_topic_info absurd = {.struct_size = 0, .capacity = 7};
    CHECK_STATUS(shm_publisher_info(publisher, &absurd), SHM_ERR_INVALID_OPTION);
    CHECK(absurd.capacity == 7);
    shm_publisher_destroy(publisher);
}

static void root_of_its_own(const char *shared_root) {
    char root[256];
    snprintf(root, sizeof root, "%s/apart", shared_root);
    shm_publisher_options there = publisher_defaults();
    there.root = root;
    shm_publisher *publisher = new_publisher("/root", &there);
    CHECK(access(root, F_OK) == 0);

    shm_subscriber *stranger = new_subscriber("/root", NULL);
    shm_subscriber_options options = subscriber_defaults();
    options.root = root;
    shm_subscriber *subscriber = new_subscriber("/root", &options);
    publish_number(publisher, 5);
    CHECK(receive_number(subscriber) == 5);
    shm_sample *sample;
    CHECK_STATUS(shm_subscriber_try_receive(stranger, &sample), SHM_WOULD_BLOCK);
    shm_subscriber_destroy(stranger);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
    CHECK(rmdir(root) == 0);
}

static void untrusted_root(const char *shared_root) {
    char root[256];
    snprintf(root, sizeof root, "%s/open", shared_root);
    CHECK(mkdir(root, 0700) == 0 && chmod(root, 0777) == 0);
    shm_publisher_options there = publisher_defaults();
    there.root = root;
    CHECK_STATUS(try_publisher("/root", &there), SHM_ERR_NOT_TRUSTED);
    CHECK(rmdir(root) == 0);

    there.root = "/proc/no/such/place";
    CHECK_STATUS(try_publisher("/root", &there), SHM_ERR_OS);
}

static void check_mode(const char *root, const char *name, mode_t mode) {
    char path[256];
    struct stat status;
    snprintf(path, sizeof path, "%s%s", root, name);
    CHECK(stat(path, &status) == 0);
    CHECK((status.st_mode & 07777) == mode && status.st_gid == getegid());
}

/* A root and a topic for a group: this process's own, so that anybody can run this. */
static void shared_root(const char *shared_root) {
    char root[256];
    snprintf(root, sizeof root, "%s/group", shared_root);
    mode_t mask = umask(077);
    shm_publisher_options there = publisher_defaults();
    there.root = root, there.has_group = 1, there.group = getegid();
    shm_publisher *publisher = new_publisher("shared", &there);
    shm_subscriber_options options = subscriber_defaults();
    options.root = root, options.has_group = 1, options.group = getegid(), options.mode = 0660;
    shm_subscriber *subscriber = new_subscriber("shared", &options);
    publish_number(publisher, 5);
    CHECK(receive_number(subscriber) == 5);
    umask(mask);
    check_mode(root, "", 0770);
    check_mode(root, "/shared", 0770);
    check_mode(root, "/shared/ring", 0660);
    check_mode(root, "/shared/peers", 0660);
    check_mode(root, "/shared/seg.1.0", 0660);

    there.has_group = there.group = 0;
    CHECK_STATUS(try_publisher("shared", &there), SHM_ERR_NOT_TRUSTED);
    CHECK(strstr(shm_last_error_message(), "option `group`") != NULL);
    options.group++;
    CHECK_STATUS(try_subscriber("shared", &options), SHM_ERR_NOT_TRUSTED);
    options.group--, options.mode = 0640;
    CHECK_STATUS(try_subscriber("shared", &options), SHM_ERR_INVALID_OPTION);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
    CHECK(rmdir(root) == 0);

    CHECK(unsetenv("SHM_ROOT") == 0);
    there.root = NULL, there.has_group = 1, there.group = getegid();
    CHECK_STATUS(try_publisher("shared", &there), SHM_ERR_INVALID_OPTION);
    CHECK(strstr(shm_last_error_message(), "SHM_ROOT") != NULL);
    CHECK(setenv("SHM_ROOT", shared_root, 1) == 0);
}

/* Who comes to a topic whose files don't say what they should is told so. */
static void damaged_topic(const char *root) {
    shm_publisher *publisher = new_publisher("damaged", NULL);
    char path[256], header[12];
    snprintf(path, sizeof path, "%s/damaged/ring", root);
    int ring = open(path, O_RDWR);
    CHECK(ring >= 0 && pread(ring, header, sizeof header, 0) == sizeof header);
    CHECK(pwrite(ring, "\x77", 1, 8) == 1);
    CHECK_STATUS(try_subscriber("damaged", NULL), SHM_ERR_VERSION);
    CHECK(pwrite(ring, "\x77", 1, 0) == 1);
    CHECK_STATUS(try_subscriber("damaged", NULL), SHM_ERR_CORRUPT);
    CHECK(pwrite(ring, header, sizeof header, 0) == sizeof header && close(ring) == 0);
    CHECK_STATUS(try_subscriber("damaged", NULL), SHM_OK);
    shm_publisher_destroy(publisher);
}

int main(void) {
    const char *root = fresh_root();
    defaults();
    names();
    values();
    shares();
    existing_topic();
    longer_structs();
    shorter_structs();
    absurd_structs();
    info_of_other_sizes();
    root_of_its_own(root);
    untrusted_root(root);
    shared_root(root);
    damaged_topic(root);
    check_root_is_empty();
    return 0;
}
