/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Looking after a root: what shm_gc takes away and shm_audit says. The dead are this program, started again. */
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char *program;
static const char *root;

/* Takes part in the topic until it is killed: with a message in the ring and a sample held. */
static int role_die(const char *topic) {
    shm_publisher *publisher = new_publisher(topic, NULL);
    shm_subscriber *subscriber = new_subscriber(topic, NULL);
    publish_number(publisher, 5);
    next_sample(subscriber);
    raise(SIGKILL);
    return 1;
}

static void die_in(const char *topic) {
    char *arguments[] = {program, "die", (char *)topic, NULL};
    pid_t child;
    int status;
    CHECK(posix_spawn(&child, program, NULL, NULL, arguments, environ) == 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static shm_root_options root_defaults(void) {
    shm_root_options options;
    CHECK_STATUS(shm_root_options_init(&options), SHM_OK);
    return options;
}

static shm_collected collect(void) {
    shm_collected collected = {.struct_size = sizeof collected};
    CHECK_STATUS(shm_gc(NULL, &collected), SHM_OK);
    CHECK(collected.struct_size == sizeof collected);
    return collected;
}

static shm_audit_summary look(void) {
    shm_audit_summary summary = {.struct_size = sizeof summary};
    CHECK_STATUS(shm_audit(NULL, NULL, NULL, &summary), SHM_OK);
    CHECK(summary.struct_size == sizeof summary);
    return summary;
}

/* A member that isn't written would be seen. */
static shm_collected untouched_collected(void) {
    shm_collected collected;
    memset(&collected, 0xff, sizeof collected);
    collected.struct_size = sizeof collected;
    return collected;
}

static shm_audit_summary untouched_summary(void) {
    shm_audit_summary summary;
    memset(&summary, 0xff, sizeof summary);
    summary.struct_size = sizeof summary;
    return summary;
}

static bool same_collected(shm_collected a, shm_collected b) { return memcmp(&a, &b, sizeof a) == 0; }
static bool same_summary(shm_audit_summary a, shm_audit_summary b) { return memcmp(&a, &b, sizeof a) == 0; }

struct told {
    int count;
    uint32_t kind;
    char name[64], finding[256];
};

static void keep(uint32_t kind, const char *name, const char *finding, void *user_data) {
    struct told *told = user_data;
    told->count++;
    told->kind = kind;
    snprintf(told->name, sizeof told->name, "%s", name);
    snprintf(told->finding, sizeof told->finding, "%s", finding);
}

static void never(uint32_t kind, const char *name, const char *finding, void *user_data) {
    (void)user_data;
    fprintf(stderr, "%d %s: %s\n", (int)kind, name, finding);
    CHECK(false);
}

static void path_of(char *path, size_t size, const char *name) { snprintf(path, size, "%s/%s", root, name); }

static void defaults(void) {
    shm_root_options options;
    memset(&options, 0xff, sizeof options);
    options = root_defaults();
    CHECK(options.struct_size == sizeof options && options.root == NULL);
    CHECK(options.has_group == 0 && options.group == 0);

    shm_collected collected = untouched_collected();
    CHECK_STATUS(shm_gc(&options, &collected), SHM_OK);
    CHECK(same_collected(collected, (shm_collected){.struct_size = sizeof collected}));
    shm_audit_summary summary = untouched_summary();
    CHECK_STATUS(shm_audit(&options, never, NULL, &summary), SHM_OK);
    CHECK(same_summary(summary, (shm_audit_summary){.struct_size = sizeof summary}));
}

static void what_the_dead_left(void) {
    shm_publisher *publisher = new_publisher("used", NULL);
    shm_subscriber *subscriber = new_subscriber("used", NULL);
    die_in("used");
    die_in("/unused");
    shm_audit_summary summary = look();
    CHECK(summary.topics == 2 && summary.living == 2 && summary.dead == 4 && summary.findings == 0);

    shm_collected collected = collect();
    CHECK(collected.removed == 1 && collected.in_use == 1 && collected.recovered == 2);
    CHECK(collected.swept == 0 && collected.refused == 0);
    summary = look();
    CHECK(summary.topics == 1 && summary.living == 2 && summary.dead == 0 && summary.findings == 0);
    CHECK(summary.orphans > 0 && summary.abandoned == 0 && summary.foreign == 0);

    /* What the dead had published is still there. */
    CHECK(receive_number(subscriber) == 5);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
    check_root_is_empty();
}

static void what_is_no_topic(void) {
    char unfinished[256], foreign[256];
    path_of(unfinished, sizeof unfinished, ".dead-0123456789abcdef");
    path_of(foreign, sizeof foreign, "a b");
    CHECK(mkdir(unfinished, 0700) == 0 && mkdir(foreign, 0700) == 0);
    shm_audit_summary summary = look();
    CHECK(summary.topics == 0 && summary.abandoned == 1 && summary.foreign == 1);
    CHECK(collect().swept == 1);
    CHECK(access(unfinished, F_OK) != 0 && rmdir(foreign) == 0);
}

/* What is broken is told, by topic; shm_gc leaves it alone. */
static void damaged_topic(void) {
    shm_publisher *publisher = new_publisher("/damaged", NULL);
    char path[256], header[8];
    path_of(path, sizeof path, "%2Fdamaged/peers");
    int peers = open(path, O_RDWR);
    CHECK(peers >= 0 && pread(peers, header, sizeof header, 0) == sizeof header);
    CHECK(pwrite(peers, "\0", 1, 0) == 1);

    struct told told = {0};
    shm_audit_summary summary = untouched_summary();
    CHECK_STATUS(shm_audit(NULL, keep, &told, &summary), SHM_OK);
    CHECK(told.count == 1 && told.kind == SHM_KIND_TOPIC && strcmp(told.name, "/damaged") == 0);
    CHECK(strstr(told.finding, "peers is damaged") != NULL && strstr(told.finding, "(layout)") != NULL);
    CHECK(summary.topics == 1 && summary.findings == 1);
    shm_collected collected = collect();
    CHECK(collected.refused == 1 && collected.removed == 0 && collected.in_use == 0);

    CHECK(pwrite(peers, header, sizeof header, 0) == sizeof header && close(peers) == 0);
    CHECK(look().findings == 0 && collect().in_use == 1);
    shm_publisher_destroy(publisher);
}

static void many_findings(void) {
    shm_publisher *publisher = new_publisher("many", NULL);
    char paths[3][256];
    for (int i = 0; i < 3; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/many/stranger%d", root, i);
        CHECK(close(open(paths[i], O_CREAT | O_WRONLY, 0600)) == 0);
    }
    struct told told = {0};
    shm_audit_summary summary = untouched_summary();
    CHECK_STATUS(shm_audit(NULL, keep, &told, &summary), SHM_OK);
    CHECK(told.count == 3 && summary.findings == 3);
    CHECK(strcmp(told.name, "many") == 0 && strstr(told.finding, "stranger") != NULL);
    for (int i = 0; i < 3; i++) CHECK(unlink(paths[i]) == 0);
    shm_publisher_destroy(publisher);
}

/* A topic and a service that are called the same are told apart, and a topic whose name says "rpc". */
static void topics_and_services(void) {
    shm_publisher *publishers[] = {new_publisher("s", NULL), new_publisher("rpc:s", NULL)};
    shm_server *server;
    CHECK_STATUS(shm_server_create("s", NULL, &server), SHM_OK);
    shm_audit_summary summary = look();
    CHECK(summary.topics == 2 && summary.services == 1 && summary.living == 3);
    CHECK(collect().in_use == 3);
    const struct {
        const char *stranger, *name;
        uint32_t kind;
    } all[] = {
        {"s/stranger", "s", SHM_KIND_TOPIC},
        {"+s/stranger", "s", SHM_KIND_SERVICE},
        {"rpc%3As/stranger", "rpc:s", SHM_KIND_TOPIC},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char path[256];
        path_of(path, sizeof path, all[i].stranger);
        CHECK(close(open(path, O_CREAT | O_WRONLY, 0600)) == 0);
        struct told told = {0};
        CHECK_STATUS(shm_audit(NULL, keep, &told, &summary), SHM_OK);
        CHECK(told.count == 1 && told.kind == all[i].kind && strcmp(told.name, all[i].name) == 0);
        CHECK(unlink(path) == 0);
    }
    shm_server_destroy(server);
    for (size_t i = 0; i < sizeof publishers / sizeof *publishers; i++) shm_publisher_destroy(publishers[i]);
}

static void expect(const shm_root_options *options, int32_t status, const char *words) {
    shm_collected collected = untouched_collected();
    CHECK_STATUS(shm_gc(options, &collected), status);
    CHECK(strstr(shm_last_error_message(), words) != NULL);
    CHECK(same_collected(collected, untouched_collected()));
    shm_audit_summary summary = untouched_summary();
    CHECK_STATUS(shm_audit(options, never, NULL, &summary), status);
    CHECK(strstr(shm_last_error_message(), words) != NULL);
    CHECK(same_summary(summary, untouched_summary()));
}

static void sizes_of_outputs(void) {
    die_in("left");
    CHECK_STATUS(shm_gc(NULL, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_audit(NULL, never, NULL, NULL), SHM_ERR_NULL);
    const size_t absurd[] = {0, sizeof(size_t) - 1, 4097, SIZE_MAX};
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        shm_collected collected = {.struct_size = absurd[i], .removed = 7};
        CHECK_STATUS(shm_gc(NULL, &collected), SHM_ERR_INVALID_OPTION);
        shm_audit_summary summary = {.struct_size = absurd[i], .topics = 7};
        CHECK_STATUS(shm_audit(NULL, never, NULL, &summary), SHM_ERR_INVALID_OPTION);
        CHECK(strstr(shm_last_error_message(), "struct_size") != NULL);
        CHECK(collected.removed == 7 && summary.topics == 7);
    }
    CHECK(look().topics == 1); /* Who can't be told gets nothing done. */

    shm_publisher *publisher = new_publisher("used", NULL);
    shm_audit_summary shorter = untouched_summary();
    shorter.struct_size = offsetof(shm_audit_summary, dead);
    CHECK_STATUS(shm_audit(NULL, NULL, NULL, &shorter), SHM_OK);
    CHECK(shorter.topics == 2 && shorter.living == 1 && shorter.dead == UINT64_MAX);
    shm_publisher_destroy(publisher);
    struct {
        shm_collected known;
        unsigned char tail[8];
    } longer;
    memset(&longer, 0xff, sizeof longer);
    longer.known.struct_size = sizeof longer;
    CHECK_STATUS(shm_gc(NULL, &longer.known), SHM_OK);
    CHECK(longer.known.struct_size == sizeof longer && longer.known.removed == 1 && longer.known.refused == 0);
    for (size_t i = 0; i < sizeof longer.tail; i++) CHECK(longer.tail[i] == 0);
}

static void sizes_of_options(void) {
    struct {
        shm_root_options known;
        unsigned char tail[24];
    } longer = {root_defaults(), {0}};
    longer.known.struct_size = sizeof longer;
    shm_collected collected = untouched_collected();
    CHECK_STATUS(shm_gc(&longer.known, &collected), SHM_OK);
    longer.tail[sizeof longer.tail - 1] = 1;
    expect(&longer.known, SHM_ERR_INVALID_OPTION, "newer libshm");

    shm_root_options options = root_defaults();
    options.has_group = options.group = 0777;
    options.struct_size = offsetof(shm_root_options, has_group);
    CHECK_STATUS(shm_gc(&options, &collected), SHM_OK);
    options.root = "/proc/self/stat";
    expect(&options, SHM_ERR_NOT_TRUSTED, "/proc/self/stat");
    options.struct_size = 0;
    expect(&options, SHM_ERR_INVALID_OPTION, "struct_size");
}

static void bad_options(void) {
    shm_root_options options = root_defaults();
    options.has_group = 2;
    expect(&options, SHM_ERR_INVALID_OPTION, "has_group is 2");
    options.has_group = 0, options.group = 7;
    expect(&options, SHM_ERR_INVALID_OPTION, "group is 7, but must be 0 unless has_group is 1");
    options.has_group = 1, options.group = UINT32_MAX;
    expect(&options, SHM_ERR_INVALID_OPTION, "group");
    options = root_defaults();
    options.root = "/proc/self/stat";
    expect(&options, SHM_ERR_NOT_TRUSTED, "/proc/self/stat");
}

/* Another root than the default one, also a group's: this process's own, so that anybody can run this. */
static void other_roots(void) {
    char apart[256];
    path_of(apart, sizeof apart, "apart");
    shm_root_options options = root_defaults();
    options.root = apart;
    shm_collected collected = untouched_collected();
    CHECK_STATUS(shm_gc(&options, &collected), SHM_OK);
    CHECK(collected.in_use == 0 && access(apart, F_OK) != 0);

    shm_publisher_options there = publisher_defaults();
    there.root = apart, there.has_group = 1, there.group = getegid();
    shm_publisher *publisher = new_publisher("shared", &there);
    expect(&options, SHM_ERR_NOT_TRUSTED, "option `group`");
    options.has_group = 1, options.group = getegid();
    CHECK_STATUS(shm_gc(&options, &collected), SHM_OK);
    shm_audit_summary summary = untouched_summary();
    CHECK_STATUS(shm_audit(&options, never, NULL, &summary), SHM_OK);
    CHECK(collected.in_use == 1 && summary.topics == 1 && summary.living == 1);
    shm_publisher_destroy(publisher);
    CHECK(rmdir(apart) == 0);
}

int main(int count, char **arguments) {
    program = arguments[0];
    if (count == 3 && strcmp(arguments[1], "die") == 0) return role_die(arguments[2]);
    root = fresh_root();
    defaults();
    what_the_dead_left();
    what_is_no_topic();
    damaged_topic();
    many_findings();
    topics_and_services();
    sizes_of_outputs();
    sizes_of_options();
    bad_options();
    other_roots();
    check_root_is_empty();
    return 0;
}
