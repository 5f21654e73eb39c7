/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Generated from src/ffi: don't edit. SHM_UPDATE_HEADER=1 cargo test --test header writes it. */

/**
 * @file
 * The C interface of shm: messages between the processes of one machine through shared memory.
 *
 * A topic is a name. Publishers and subscribers of one topic find each other through it, in whatever
 * order and process they are made. A publisher writes a message into shared memory (`shm_publisher_loan`,
 * `shm_loan_publish`), or has one copied there (`shm_publisher_publish`); every subscriber reads it in place,
 * as a sample that it holds until `shm_sample_release`. Who comes first makes the topic, who leaves last
 * removes it.
 *
 * A service is a name as well, apart from those of topics. A client writes a request into shared memory (`shm_client_loan`,
 * `shm_request_loan_send`), or has one copied there (`shm_client_send`, `shm_client_call`); one of the service's servers
 * receives it (`shm_server_receive`), reads it in place and replies in the same ways. A call ends in exactly one of these:
 * its replies, an error of the function that was called, an error of this interface, or its cancellation; whatever dies,
 * and whenever.
 *
 * A copier allocates memory of another kind, a GPU's for instance, and copies between it and any message, request or reply:
 * `shm_copier_user_to_shm` to what was lent, `shm_copier_shm_to_user` from what was received. It is made of a program's own functions
 * (`shm_copier_create`), or one of those that come with the library.
 *
 * A device topic's messages stay in a GPU's memory (`shm_device_publisher_create`, `shm_device_subscriber_create`): what goes through the topic says where they are, and
 * what is read and written are pointers for the GPU's work.
 *
 * What holds for every function, and isn't repeated there:
 *
 * Status. A function that can fail returns an `int32_t`: `SHM_OK`, which is 0; an error, below 0; or an
 * outcome that is no error, above 0 (`SHM_WOULD_BLOCK`, `SHM_TIMED_OUT`, `SHM_END`, `SHM_CANCELLED`). A number never
 * changes its meaning. After an error `shm_last_error_message` says in words what was wrong.
 *
 * Outputs. They are written last, and only when `SHM_OK` is returned; otherwise they are untouched.
 *
 * C1, handles. A handle is used from its creation until its `_destroy` or `_release`, or another function that ends it,
 * and not after that. `_destroy` and `_release` of NULL do nothing; any other function answers a NULL that it can't use with
 * `SHM_ERR_NULL`, or with NULL or 0 where it returns no status.
 *
 * C2, arguments. A pointer that isn't NULL points to what the function's comment says, for as long as the
 * call runs: nothing keeps it. Strings end with a NUL byte. Names are UTF-8, a root is a path.
 *
 * C3, threads. Any thread may use a handle, one at a time; a publisher's loans count as part of it, so do a client's
 * request loans, pendings and replies, and a server's requests and reply loans. Different handles are independent.
 * Samples are apart from their subscriber: each may be read by any threads at any time, also while the subscriber is
 * destroyed and after that, and then be released by one.
 *
 * C4, the end. `_destroy` runs while no other call on the handle does, nor one on what counts as part of it; a subscriber's
 * samples may be read and released meanwhile. What the handle gave out and is still out stays valid: each still has to be
 * ended, and the last one takes with it what the handle left behind.
 *
 * Forks. In the child of a fork the handles of the parent are dead: calls give `SHM_ERR_FORKED`, and
 * memory behind loans, samples, requests and replies must not be touched. Make new handles there.
 *
 * Signals. They harm no call: none fails, and no wait ends early, because of one. A signal handler calls no
 * function of this interface: none is async-signal-safe, as they may allocate memory.
 *
 * The end of the process. It may come in any way, by `exit` or by executing another program as well, with handles
 * in use: what the process had comes back to the others. Handlers of `atexit` may still use them.
 *
 * Failures inside. No Rust panic leaves a function: it gives `SHM_ERR_INTERNAL`, which is a bug in the
 * library, and the handle is good for `_destroy` only.
 *
 * Versions of a struct. Structs that callers allocate begin with `struct_size`, the size that the caller's
 * compiler gave them. A shorter one than the library's gets defaults for what it lacks; a longer one
 * is refused with `SHM_ERR_INVALID_OPTION` when it asks for something that the library doesn't know.
 */

#ifndef SHM_SHM_H
#define SHM_SHM_H

#include <stddef.h>
#include <stdint.h>

struct DLManagedTensor;
struct DLManagedTensorVersioned;

/**
 * Major version of the library that this header belongs to.
 */
#define SHM_VERSION_MAJOR 0

/**
 * Minor version of the library that this header belongs to.
 */
#define SHM_VERSION_MINOR 1

/**
 * Patch version of the library that this header belongs to.
 */
#define SHM_VERSION_PATCH 0

/**
 * Done.
 */
#define SHM_OK 0

/**
 * No message, request or reply has come yet, or no room for a message. An outcome, not an error.
 */
#define SHM_WOULD_BLOCK 1

/**
 * No message, request or reply came in the time given, or no room for a message. An outcome, not an error.
 */
#define SHM_TIMED_OUT 2

/**
 * No further reply comes: the call is over. An outcome, not an error.
 */
#define SHM_END 3

/**
 * Nobody waits for the reply any more: the client cancelled the call, or died. An outcome, not an error.
 */
#define SHM_CANCELLED 4

/**
 * An argument is NULL that must not be.
 */
#define SHM_ERR_NULL -1

/**
 * The name of the topic or service can't be used.
 */
#define SHM_ERR_INVALID_NAME -2

/**
 * An option is outside what it may be.
 */
#define SHM_ERR_INVALID_OPTION -3

/**
 * The memory budget of the publisher, client or server can't take the message, request or reply.
 */
#define SHM_ERR_OUT_OF_MEMORY -4

/**
 * The file system that holds the topics is full.
 */
#define SHM_ERR_NO_SPACE -5

/**
 * Every participant entry of the topic or service is taken by a living participant.
 */
#define SHM_ERR_NO_PARTICIPANT -6

/**
 * The subscriber holds as many samples as it may; a client replies; a server requests.
 */
#define SHM_ERR_NO_HOLD -7

/**
 * The topic's segment table is full.
 */
#define SHM_ERR_NO_SEGMENT -8

/**
 * The topic exists already and is smaller than what was asked for, or shared with others.
 */
#define SHM_ERR_MISMATCH -9

/**
 * A file of the topic doesn't say what it should.
 */
#define SHM_ERR_CORRUPT -10

/**
 * The topic was made by a version of the library with another layout.
 */
#define SHM_ERR_VERSION -11

/**
 * A directory or file isn't safe to use: it belongs to others, or others may write to it.
 */
#define SHM_ERR_NOT_TRUSTED -12

/**
 * This process is a fork of the one that made the handle.
 */
#define SHM_ERR_FORKED -13

/**
 * The operating system refused.
 */
#define SHM_ERR_OS -14

/**
 * The message can't be written as msgpack.
 */
#define SHM_ERR_ENCODE -15

/**
 * The payload isn't the message that was asked for.
 */
#define SHM_ERR_DECODE -16

/**
 * The payload's size isn't that of the plain type.
 */
#define SHM_ERR_WRONG_SIZE -17

/**
 * The loan can't be published or sent any more: its publisher or client was destroyed, or its request has ended.
 */
#define SHM_ERR_CLOSED -18

/**
 * A bug in the library. The handle is good for `_destroy` only.
 */
#define SHM_ERR_INTERNAL -19

/**
 * No message can be this large.
 */
#define SHM_ERR_TOO_LARGE -20

/**
 * As many calls of the client are in flight as may be.
 */
#define SHM_ERR_TOO_MANY_CALLS -21

/**
 * The service's queue has no room for another request.
 */
#define SHM_ERR_QUEUE_FULL -22

/**
 * Nobody serves the service.
 */
#define SHM_ERR_NO_SERVER -23

/**
 * The server that had begun with the request died, or left; whether it did what was asked for isn't known.
 */
#define SHM_ERR_PEER_DIED -24

/**
 * The server gave the request up without a reply.
 */
#define SHM_ERR_NO_REPLY -25

/**
 * The function that was called failed: `shm_last_error_code` and `shm_last_error_message` are what it says.
 */
#define SHM_ERR_REMOTE -26

/**
 * A copier, or the device behind it, failed: `shm_last_error_code` is what it gave.
 */
#define SHM_ERR_COPIER -27

/**
 * There is no device of that kind here, or nothing that drives it.
 */
#define SHM_ERR_NO_DEVICE -28

/**
 * For `shm_subscriber_options.history`: every message that the topic still has.
 */
#define SHM_HISTORY_ALL UINT32_MAX

/**
 * For the timeouts of remote procedure calls: as long as it takes.
 */
#define SHM_WAIT_FOREVER UINT64_MAX

/**
 * For `shm_cpu_copier_options.copy`: whatever was measured to be the fastest at each size.
 */
#define SHM_CPU_COPY_AUTO 0

/**
 * The C library's `memcpy`.
 */
#define SHM_CPU_COPY_LIBC 1

/**
 * A word at a time.
 */
#define SHM_CPU_COPY_SCALAR 2

/**
 * x86-64's `rep movsb`.
 */
#define SHM_CPU_COPY_REP_MOVSB 3

/**
 * AVX.
 */
#define SHM_CPU_COPY_AVX 4

/**
 * AVX, four vectors an iteration.
 */
#define SHM_CPU_COPY_AVX_UNROLL 5

/**
 * AVX, stores past the caches.
 */
#define SHM_CPU_COPY_AVX_ASYNC 6

/**
 * AVX, stores past the caches, loads fetched ahead.
 */
#define SHM_CPU_COPY_AVX_ASYNC_PF 7

/**
 * AVX, stores past the caches, four vectors an iteration.
 */
#define SHM_CPU_COPY_AVX_ASYNC_UNROLL 8

/**
 * AVX, stores past the caches, loads fetched ahead, four vectors an iteration.
 */
#define SHM_CPU_COPY_AVX_ASYNC_PF_UNROLL 9

/**
 * AVX-512, four vectors an iteration.
 */
#define SHM_CPU_COPY_AVX512 10

/**
 * AVX-512, stores past the caches, four vectors an iteration.
 */
#define SHM_CPU_COPY_AVX512_ASYNC 11

/**
 * ARM's NEON, four vectors an iteration.
 */
#define SHM_CPU_COPY_NEON 12

/**
 * Where a payload is: up to the library. The device's memory where other processes can map that and no subscriber said that it couldn't, else the host's.
 */
#define SHM_PLACEMENT_AUTO 0

/**
 * Where a payload is: in the device's memory.
 */
#define SHM_PLACEMENT_DEVICE 1

/**
 * Where a payload is: in the topic's shared memory, which the device reads and writes over the bus.
 */
#define SHM_PLACEMENT_HOST 2

/**
 * For what `shm_audit` finds: it is about a topic.
 */
#define SHM_KIND_TOPIC 0

/**
 * For what `shm_audit` finds: it is about a service. A topic and a service may have the same name.
 */
#define SHM_KIND_SERVICE 1

/**
 * Calls the functions of a service.
 */
typedef struct shm_client shm_client;

/**
 * Allocates memory of some kind, and copies between it and shared memory.
 *
 * Any threads may use a copier, also at once, with any publishers, subscribers, clients and servers.
 */
typedef struct shm_copier shm_copier;

/**
 * A message being written in memory that a GPU reads and writes, and nobody else.
 */
typedef struct shm_device_loan shm_device_loan;

/**
 * Publishes messages whose payload is in the memory of a GPU, and stays there.
 *
 * Any threads may use it, also at once.
 */
typedef struct shm_device_publisher shm_device_publisher;

/**
 * A message in memory that a GPU reads: it stays as it is, where it is, until it is released.
 */
typedef struct shm_device_sample shm_device_sample;

/**
 * Receives the messages of a device publisher's topic, as pointers for a GPU's work.
 */
typedef struct shm_device_subscriber shm_device_subscriber;

/**
 * Shared memory lent to write a message into.
 */
typedef struct shm_loan shm_loan;

/**
 * A call in flight: a request that was sent, whose reply is for later.
 */
typedef struct shm_pending shm_pending;

/**
 * Publishes messages on a topic.
 */
typedef struct shm_publisher shm_publisher;

/**
 * A reply that a client holds: it stays as it is, where it is, until it is released.
 */
typedef struct shm_reply shm_reply;

/**
 * Shared memory lent to write a reply into.
 */
typedef struct shm_reply_loan shm_reply_loan;

/**
 * A request that a server holds, to be replied to: it stays as it is, where it is, until it ends.
 */
typedef struct shm_request shm_request;

/**
 * Shared memory lent to write a request into.
 */
typedef struct shm_request_loan shm_request_loan;

/**
 * A message that a subscriber holds: it stays as it is, where it is, until it is released.
 */
typedef struct shm_sample shm_sample;

/**
 * Serves the requests of a service, each of which goes to exactly one of its servers.
 */
typedef struct shm_server shm_server;

/**
 * Publishes messages that a copier copies on streams: each becomes visible when its stream has come to it.
 *
 * Any threads may use it, also at once.
 */
typedef struct shm_stream_publisher shm_stream_publisher;

/**
 * Receives the messages of a topic.
 */
typedef struct shm_subscriber shm_subscriber;

/**
 * How a publisher is made. `shm_publisher_options_init` sets it to the defaults.
 */
typedef struct shm_publisher_options {
    /**
     * sizeof(shm_publisher_options), set by `shm_publisher_options_init`.
     */
    size_t struct_size;
    /**
     * The directory that holds the topics. NULL: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
     */
    const char *root;
    /**
     * How many messages the topic keeps at least: a power of two from 2 to 1,048,576. 0: as it has them, 64 when made.
     */
    uint32_t capacity;
    /**
     * How many publishers and subscribers the topic takes at least: up to 1,024. 0: as it has them, 128 when made.
     */
    uint32_t participants;
    /**
     * How many samples one subscriber may hold at least: up to 256. 0: as the topic has them, 8 when made.
     */
    uint32_t holds;
    /**
     * 1: each message carries the time of its publication. 0: none does.
     */
    uint32_t timestamps;
    /**
     * Bytes of shared memory that this publisher's messages may take. 0: 256 MiB.
     */
    uint64_t memory;
    /**
     * The permission bits of the topic's files, whatever the umask says. Without a group 0600, or 0640: then the members of the
     * files' group can look at them with other tools, where the root lets them in, but not join. With a group always 0660. An
     * existing topic must have the same. 0: as the topic has it; when it is made 0600, with a group 0660.
     */
    uint32_t mode;
    /**
     * 1: the members of `group` share the topic. 0: it is this user's alone, one that a group may write to is refused, and
     * `group` must be 0.
     */
    uint32_t has_group;
    /**
     * The group, by its id, whose members may join, recover and remove the topic, each with this option. They need a root of
     * their own, which is made for them when it isn't there (mode 0770, with that group), as the default root is its
     * user's alone; and they are trusted not to be malicious.
     */
    uint32_t group;
    /**
     * 0.
     */
    uint32_t reserved;
} shm_publisher_options;

/**
 * How a subscriber is made. `shm_subscriber_options_init` sets it to the defaults.
 */
typedef struct shm_subscriber_options {
    /**
     * sizeof(shm_subscriber_options), set by `shm_subscriber_options_init`.
     */
    size_t struct_size;
    /**
     * The directory that holds the topics. NULL: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
     */
    const char *root;
    /**
     * How many messages the topic keeps at least: a power of two from 2 to 1,048,576. 0: as it has them, 64 when made.
     */
    uint32_t capacity;
    /**
     * How many publishers and subscribers the topic takes at least: up to 1,024. 0: as it has them, 128 when made.
     */
    uint32_t participants;
    /**
     * How many samples one subscriber may hold at least: up to 256. 0: as the topic has them, 8 when made.
     */
    uint32_t holds;
    /**
     * How many messages from before the join to receive, as far as the topic still keeps them. SHM_HISTORY_ALL: all.
     */
    uint32_t history;
    /**
     * The permission bits of the topic's files, whatever the umask says. Without a group 0600, or 0640: then the members of the
     * files' group can look at them with other tools, where the root lets them in, but not join. With a group always 0660. An
     * existing topic must have the same. 0: as the topic has it; when it is made 0600, with a group 0660.
     */
    uint32_t mode;
    /**
     * 1: the members of `group` share the topic. 0: it is this user's alone, one that a group may write to is refused, and
     * `group` must be 0.
     */
    uint32_t has_group;
    /**
     * The group, by its id, whose members may join, recover and remove the topic, each with this option. They need a root of
     * their own, which is made for them when it isn't there (mode 0770, with that group), as the default root is its
     * user's alone; and they are trusted not to be malicious.
     */
    uint32_t group;
    /**
     * 1: publishers wait for this subscriber instead of overwriting what it has yet to read: from the join on it loses nothing,
     * and what it does when it is slow or stopped is the publishers' delay. Its death isn't: they find that within 100 ms. What
     * `history` gives may still be lost. 0: the oldest messages make room.
     */
    uint32_t reliable;
} shm_subscriber_options;

/**
 * Which directory of topics to look after. `shm_root_options_init` sets it to the defaults.
 */
typedef struct shm_root_options {
    /**
     * sizeof(shm_root_options), set by `shm_root_options_init`.
     */
    size_t struct_size;
    /**
     * The directory that holds the topics. NULL: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
     */
    const char *root;
    /**
     * 1: the members of `group` share the topics. 0: they are this user's alone, and `group` must be 0.
     */
    uint32_t has_group;
    /**
     * The group, by its id, that shares the topics, as for a publisher.
     */
    uint32_t group;
} shm_root_options;

/**
 * What a topic is. Set `struct_size` to sizeof(shm_topic_info) before it is filled in.
 */
typedef struct shm_topic_info {
    /**
     * sizeof(shm_topic_info), set by the caller.
     */
    size_t struct_size;
    /**
     * A random number, another one for each topic ever made.
     */
    uint64_t instance;
    /**
     * How many messages it keeps.
     */
    uint32_t capacity;
    /**
     * How many publishers and subscribers it takes.
     */
    uint32_t participants;
    /**
     * How many samples one subscriber may hold.
     */
    uint32_t holds;
    /**
     * 0.
     */
    uint32_t reserved;
} shm_topic_info;

/**
 * What the bytes of a message are, as a tensor: its elements lie in row-major order, without gaps.
 */
typedef struct shm_tensor_type {
    /**
     * sizeof(shm_tensor_type), set by the caller.
     */
    size_t struct_size;
    /**
     * `ndim` lengths of dimensions, in elements. May be NULL when there are none.
     */
    const int64_t *shape;
    /**
     * How many dimensions.
     */
    uint32_t ndim;
    /**
     * DLPack's code of the elements' type: 0 signed integer, 1 unsigned, 2 floating point, 4 bfloat, 5 complex, 6 boolean.
     */
    uint8_t code;
    /**
     * Bits of one lane of an element.
     */
    uint8_t bits;
    /**
     * Lanes of an element: 1, but for vector types.
     */
    uint16_t lanes;
} shm_tensor_type;

/**
 * How a client is made. `shm_client_options_init` sets it to the defaults.
 */
typedef struct shm_client_options {
    /**
     * sizeof(shm_client_options), set by `shm_client_options_init`.
     */
    size_t struct_size;
    /**
     * The directory that holds the services. NULL: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
     */
    const char *root;
    /**
     * How many requests the service's queue takes at least: a power of two from 2 to 1,048,576. 0: as it has them, 256 when made.
     */
    uint32_t capacity;
    /**
     * How many clients and servers the service takes at least: up to 1,024. 0: as it has them, 64 when made.
     */
    uint32_t participants;
    /**
     * How many replies a client, and requests a server, may hold at least: up to 256. 0: as the service has them, 64 when made.
     */
    uint32_t holds;
    /**
     * How many calls of a client may be in flight at least: up to 256. 0: as the service has them, 64 when made.
     */
    uint32_t calls;
    /**
     * Bytes of shared memory that this client's requests may take. 0: 256 MiB.
     */
    uint64_t memory;
    /**
     * 1: a call waits for a server to come when there is none. 0: it fails with SHM_ERR_NO_SERVER.
     */
    uint32_t wait_for_server;
    /**
     * 1: a request whose server died is sent again, to another one, as often as that happens: only for functions
     * that may be carried out more than once.
     * 0: it fails with SHM_ERR_PEER_DIED.
     */
    uint32_t idempotent;
    /**
     * The permission bits of the service's files: 0600, 0640 or 0660, whatever the umask says; the directory can be entered by
     * who may read. An existing service must have the same. 0: as the service has it; when made 0600, with a group 0660.
     */
    uint32_t mode;
    /**
     * 1: the members of `group` share the service. 0: it is this user's alone, and `group` must be 0.
     */
    uint32_t has_group;
    /**
     * The group, by its id, whose members may join, recover and remove the service, each with this option. They need a root of
     * their own, which is made for them when it isn't there (mode 0770, with that group), as the default root is its
     * user's alone; and they are trusted not to be malicious.
     */
    uint32_t group;
    /**
     * 0.
     */
    uint32_t reserved;
} shm_client_options;

/**
 * How a server is made. `shm_server_options_init` sets it to the defaults.
 */
typedef struct shm_server_options {
    /**
     * sizeof(shm_server_options), set by `shm_server_options_init`.
     */
    size_t struct_size;
    /**
     * The directory that holds the services. NULL: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
     */
    const char *root;
    /**
     * How many requests the service's queue takes at least: a power of two from 2 to 1,048,576. 0: as it has them, 256 when made.
     */
    uint32_t capacity;
    /**
     * How many clients and servers the service takes at least: up to 1,024. 0: as it has them, 64 when made.
     */
    uint32_t participants;
    /**
     * How many replies a client, and requests a server, may hold at least: up to 256. 0: as the service has them, 64 when made.
     */
    uint32_t holds;
    /**
     * How many calls of a client may be in flight at least: up to 256. 0: as the service has them, 64 when made.
     */
    uint32_t calls;
    /**
     * Bytes of shared memory that this server's replies may take. 0: 256 MiB.
     */
    uint64_t memory;
    /**
     * The permission bits of the service's files: 0600, 0640 or 0660, whatever the umask says; the directory can be entered by
     * who may read. An existing service must have the same. 0: as the service has it; when made 0600, with a group 0660.
     */
    uint32_t mode;
    /**
     * 1: the members of `group` share the service. 0: it is this user's alone, and `group` must be 0.
     */
    uint32_t has_group;
    /**
     * The group, by its id, whose members may join, recover and remove the service, each with this option. They need a root of
     * their own, which is made for them when it isn't there (mode 0770, with that group), as the default root is its
     * user's alone; and they are trusted not to be malicious.
     */
    uint32_t group;
    /**
     * 0.
     */
    uint32_t reserved;
} shm_server_options;

/**
 * Says how a copy on a stream ended: a status, SHM_OK when the bytes are there. It is called exactly once, by any thread.
 */
typedef void (*shm_done)(void *done_data, int32_t status);

/**
 * What a copier is made of. `shm_copier_ops_init` sets it to nothing; `shm_to_user` and `user_to_shm` are needed.
 *
 * Each but `destroy` returns 0 when it did what it is for, and otherwise a number of its own: the call that it was made for fails with
 * SHM_ERR_COPIER then, and `shm_last_error_code` is that number. They are called by any thread that uses the copier, by several at once, and
 * must not call functions of this library, nor let an exception out. A device that copies by itself, in its own time, needs the functions on streams: what it
 * writes to is left alone then when its process was killed.
 */
typedef struct shm_copier_ops {
    /**
     * sizeof(shm_copier_ops), set by `shm_copier_ops_init`.
     */
    size_t struct_size;
    /**
     * Given to each of the others.
     */
    void *user_data;
    /**
     * Allocates `size` bytes, at least 1, and says in `*memory` where. NULL: this copier doesn't allocate.
     */
    int32_t (*alloc)(void *user_data, size_t size, void **memory);
    /**
     * Frees what `alloc` gave for `size` bytes. NULL only with `alloc`.
     */
    int32_t (*dealloc)(void *user_data, void *memory, size_t size);
    /**
     * Copies `size` bytes, at least 1, from `src`, which lies in shared memory and is only to be read, to the user's memory at `dst`.
     */
    int32_t (*shm_to_user)(void *user_data, void *dst, const void *src, size_t size);
    /**
     * Copies `size` bytes, at least 1, from the user's memory at `src` to `dst`, which lies in shared memory.
     */
    int32_t (*user_to_shm)(void *user_data, void *dst, const void *src, size_t size);
    /**
     * As `shm_to_user`, when `stream` comes to it, without waiting for that. On 0 it calls `done(done_data, status)` exactly once, by any thread,
     * when the copy has ended: 0 or a number of its own. Otherwise it never does. `done` may call `unpin` and `destroy`. NULL: the copy is made at once.
     */
    int32_t (*shm_to_user_on_stream)(void *user_data,
                                     void *dst,
                                     const void *src,
                                     size_t size,
                                     void *stream,
                                     shm_done done,
                                     void *done_data);
    /**
     * The same the other way.
     */
    int32_t (*user_to_shm_on_stream)(void *user_data,
                                     void *dst,
                                     const void *src,
                                     size_t size,
                                     void *stream,
                                     shm_done done,
                                     void *done_data);
    /**
     * Told of a mapping of `size` bytes of shared memory, once, before the first copy from or to it; `is_writable` is 1 when copies go there, too. 0:
     * `unpin` is to be called before it is unmapped. Otherwise it goes on without. It may not be NULL when `unpin` isn't. While these two run every other first
     * copy waits, and every mapping that comes or goes, also in a `done`: they must not wait for one.
     */
    int32_t (*pin)(void *user_data, void *memory, size_t size, int32_t is_writable);
    /**
     * The mapping goes, or the copier does. Unless this returns 0 the mapping stays for ever, so that the device doesn't write to what comes to be there next.
     */
    int32_t (*unpin)(void *user_data, void *memory, size_t size);
    /**
     * The end of the copier: called once, by the thread that ends it or the last copy of it, and none of the others after it.
     */
    void (*destroy)(void *user_data);
} shm_copier_ops;

/**
 * How a copier of the process's own memory copies. `shm_cpu_copier_options_init` sets it to the defaults.
 */
typedef struct shm_cpu_copier_options {
    /**
     * sizeof(shm_cpu_copier_options), set by `shm_cpu_copier_options_init`.
     */
    size_t struct_size;
    /**
     * A SHM_CPU_COPY_*. What this machine's processor lacks is done by the next best that it has. Default: SHM_CPU_COPY_AUTO.
     */
    uint32_t copy;
    /**
     * Threads that copy large buffers, with the caller's: up to 256. 0: the processors that the calling thread may use, at most 4. Default: 1,
     * the caller's alone.
     */
    uint32_t threads;
    /**
     * Bytes from which on more than the caller's thread copies. 0: 8 MiB.
     */
    uint64_t threshold;
} shm_cpu_copier_options;

/**
 * Which GPU a copier is for. `shm_cuda_options_init` sets it to the defaults.
 */
typedef struct shm_cuda_options {
    /**
     * sizeof(shm_cuda_options), set by `shm_cuda_options_init`.
     */
    size_t struct_size;
    /**
     * The device, as CUDA counts them, from 0: what `cudaSetDevice` takes.
     */
    uint32_t device;
    /**
     * 0.
     */
    uint32_t reserved;
} shm_cuda_options;

/**
 * What a device publisher publishes from. `shm_device_options_init` sets it to the defaults; `largest` is needed.
 */
typedef struct shm_device_options {
    /**
     * sizeof(shm_device_options), set by `shm_device_options_init`.
     */
    size_t struct_size;
    /**
     * Bytes of the largest message, at least 1. A block of device memory takes as many, rounded up to what the device maps at a time: 2 MiB.
     */
    size_t largest;
    /**
     * The GPU, as CUDA counts them, from 0.
     */
    uint32_t device;
    /**
     * How many messages there is memory for, loaned, in the topic, and held: up to 64. When all are taken the oldest message in the topic makes room. 0: 8.
     */
    uint32_t blocks;
    /**
     * Where payloads are: SHM_PLACEMENT_AUTO, SHM_PLACEMENT_DEVICE or SHM_PLACEMENT_HOST.
     */
    uint32_t placement;
    /**
     * 0.
     */
    uint32_t reserved;
} shm_device_options;

/**
 * What `shm_gc` did. Set `struct_size` to sizeof(shm_collected) before it is filled in.
 */
typedef struct shm_collected {
    /**
     * sizeof(shm_collected), set by the caller.
     */
    size_t struct_size;
    /**
     * Topics and services that nobody used any more, which are gone now.
     */
    uint64_t removed;
    /**
     * Topics and services that somebody uses.
     */
    uint64_t in_use;
    /**
     * Participants that were dead, whose entries and holds were freed in what others use.
     */
    uint64_t recovered;
    /**
     * Directories of topics or services, or of a root that a group shares, which were never put in place.
     */
    uint64_t swept;
    /**
     * Topics and services that were left alone because they are damaged, aren't safe to use or couldn't be worked on.
     */
    uint64_t refused;
} shm_collected;

/**
 * What `shm_audit` found in a root. Set `struct_size` to sizeof(shm_audit_summary) before it is filled in.
 */
typedef struct shm_audit_summary {
    /**
     * sizeof(shm_audit_summary), set by the caller.
     */
    size_t struct_size;
    /**
     * The topics.
     */
    uint64_t topics;
    /**
     * The services.
     */
    uint64_t services;
    /**
     * Participants of all topics and services that are alive.
     */
    uint64_t living;
    /**
     * Entries of the dead, which the next to join, or `shm_gc`, frees.
     */
    uint64_t dead;
    /**
     * Segments of participants that are gone, which the next publisher, client or server takes or deletes once nothing in them is
     * needed.
     */
    uint64_t orphans;
    /**
     * What contradicts the library's invariants. 0 unless something is broken.
     */
    uint64_t findings;
    /**
     * Directories of topics or services that were never put in place, or are being taken away, and whose maker is dead.
     */
    uint64_t abandoned;
    /**
     * Names in the root that aren't the library's.
     */
    uint64_t foreign;
} shm_audit_summary;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Says which version of the library runs, as "major.minor.patch".
 *
 * The string is constant and never freed. Any thread may call this at any time.
 */
const char *shm_version(void);

/**
 * Says in a few words what a status means, the same for every occurrence: see `shm_last_error_message` for
 * what went wrong this time.
 *
 * Takes any number; one that is no status gives "unknown status". Never NULL. The string is constant
 * and never freed. Any thread may call this at any time.
 */
const char *shm_status_string(int32_t status);

/**
 * Says in words what was wrong in the last call of this thread that failed. Calls that succeed don't change it.
 *
 * Never NULL; "" when no call of this thread has failed. The string belongs to the library and is valid until
 * the next call of this thread that fails, or until the thread ends: copy what is to be kept.
 */
const char *shm_last_error_message(void);

/**
 * The code that the function gave which was called, when the last call of this thread that failed did so with SHM_ERR_REMOTE:
 * `shm_last_error_message` gives the function's own words then. With SHM_ERR_COPIER the number that the copier gave. Otherwise 0.
 */
int32_t shm_last_error_code(void);

/**
 * Sets `options` to the defaults and its `struct_size`.
 *
 * The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
 */
int32_t shm_publisher_options_init(struct shm_publisher_options *options);

/**
 * Sets `options` to the defaults and its `struct_size`.
 *
 * The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
 */
int32_t shm_subscriber_options_init(struct shm_subscriber_options *options);

/**
 * Sets `options` to the defaults and its `struct_size`.
 *
 * The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
 */
int32_t shm_root_options_init(struct shm_root_options *options);

/**
 * Joins `topic` as a publisher, making the topic when it doesn't exist.
 *
 * `options` may be NULL for the defaults. On SHM_OK `*publisher` is the caller's, to be ended with
 * `shm_publisher_destroy`. Any thread may call this at any time.
 *
 * Errors: SHM_ERR_NULL, SHM_ERR_INVALID_NAME, SHM_ERR_INVALID_OPTION; SHM_ERR_MISMATCH when the topic
 * exists and is smaller than `options` ask for, or shared with others; SHM_ERR_NO_PARTICIPANT, SHM_ERR_NO_SPACE,
 * SHM_ERR_NOT_TRUSTED, SHM_ERR_VERSION, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_publisher_create(const char *topic,
                             const struct shm_publisher_options *options,
                             struct shm_publisher **publisher);

/**
 * Leaves the topic. What was published stays for the subscribers that are there.
 *
 * Loans that are still out stay valid, but can't be published any more (SHM_ERR_CLOSED); the publisher leaves
 * the topic when the last of them is destroyed. Runs while no other call on `publisher` or its loans does.
 */
void shm_publisher_destroy(struct shm_publisher *publisher);

/**
 * Publishes a copy of the `size` bytes at `data`.
 *
 * `data` is only read during the call; it may be NULL when `size` is 0. `position` may be NULL; otherwise it
 * gets the message's place in the topic's order. Waits while a reliable subscriber has yet to read what would be
 * overwritten, for ever if that one lives and doesn't read. One thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_OUT_OF_MEMORY when the publisher's memory is used up by loans, by held samples and by what
 * reliable subscribers have yet to read; SHM_ERR_TOO_LARGE, SHM_ERR_NO_SPACE, SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED,
 * SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_publisher_publish(struct shm_publisher *publisher,
                              const void *data,
                              size_t size,
                              uint64_t *position);

/**
 * Publishes a copy of the `size` bytes at `data`, if that can be done without waiting.
 *
 * `data` is only read during the call; it may be NULL when `size` is 0. `position` may be NULL; otherwise it
 * gets the message's place in the topic's order. One thread at a time.
 *
 * Outcomes: SHM_WOULD_BLOCK when a reliable subscriber has yet to read what would be overwritten. Errors: those of
 * `shm_publisher_publish`.
 */
int32_t shm_publisher_try_publish(struct shm_publisher *publisher,
                                  const void *data,
                                  size_t size,
                                  uint64_t *position);

/**
 * Lends `size` bytes of shared memory to write a message into: no copy is made when it is published.
 *
 * The bytes are aligned to 64 and their content is unspecified. On SHM_OK `*loan` is the caller's, to be ended
 * with `shm_loan_publish` or `shm_loan_destroy`. One thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_OUT_OF_MEMORY when the publisher's memory is used up by loans, by held samples and by what
 * reliable subscribers have yet to read; SHM_ERR_TOO_LARGE, SHM_ERR_NO_SPACE, SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED,
 * SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_publisher_loan(struct shm_publisher *publisher,
                           size_t size,
                           struct shm_loan **loan);

/**
 * Says what the topic is.
 *
 * The caller sets `info->struct_size` to sizeof(shm_topic_info) before; the struct stays the caller's. One
 * thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION when `info->struct_size` isn't the size of such a struct.
 */
int32_t shm_publisher_info(const struct shm_publisher *publisher, struct shm_topic_info *info);

/**
 * The memory behind a loan: aligned to 64, `shm_loan_size` bytes, for reading and writing.
 *
 * NULL for NULL. Valid until the loan ends or is resized. One thread at a time.
 */
void *shm_loan_data(struct shm_loan *loan);

/**
 * The length in bytes that the message would have if it were published now. 0 for NULL. One thread at a time.
 */
size_t shm_loan_size(const struct shm_loan *loan);

/**
 * The length in bytes up to which `shm_loan_resize` moves nothing. 0 for NULL. One thread at a time.
 */
size_t shm_loan_capacity(const struct shm_loan *loan);

/**
 * Gives the loan another length, moving it to other memory when it must.
 *
 * The content stays, up to the smaller of both lengths; what is added is unspecified. `shm_loan_data` must be asked
 * again. On an error the loan is as it was. One thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_OUT_OF_MEMORY when the publisher's memory is used up by loans, by held samples and by what
 * reliable subscribers have yet to read; SHM_ERR_TOO_LARGE, SHM_ERR_NO_SPACE, SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED,
 * SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_loan_resize(struct shm_loan *loan,
                        size_t size);

/**
 * Publishes what was written into the loan, without a copy.
 *
 * On SHM_OK the loan has ended. On an error it is as it was, and still the caller's, who has to destroy it. `position`
 * may be NULL; otherwise it gets the message's place in the topic's order. Waits while a reliable subscriber has yet to
 * read what would be overwritten, for ever if that one lives and doesn't read. One thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_CLOSED when the publisher was destroyed; SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_loan_publish(struct shm_loan *loan,
                         uint64_t *position);

/**
 * Publishes what was written into the loan, without a copy, if that can be done without waiting.
 *
 * On SHM_OK the loan has ended. Otherwise it is as it was, and still the caller's. `position` may be NULL; otherwise it
 * gets the message's place in the topic's order. One thread at a time.
 *
 * Outcomes: SHM_WOULD_BLOCK when a reliable subscriber has yet to read what would be overwritten. Errors:
 * SHM_ERR_NULL; SHM_ERR_CLOSED when the publisher was destroyed; SHM_ERR_FORKED, SHM_ERR_CORRUPT.
 */
int32_t shm_loan_try_publish(struct shm_loan *loan,
                             uint64_t *position);

/**
 * Publishes what was written into the loan, without a copy, waiting for reliable subscribers up to `timeout_ns` nanoseconds.
 *
 * On SHM_OK the loan has ended. Otherwise it is as it was, and still the caller's. `position` may be NULL; otherwise it
 * gets the message's place in the topic's order. One thread at a time.
 *
 * Outcomes: SHM_TIMED_OUT when a reliable subscriber hadn't read in that time what would be overwritten. Errors:
 * SHM_ERR_NULL; SHM_ERR_CLOSED when the publisher was destroyed; SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_loan_publish_timeout(struct shm_loan *loan,
                                 uint64_t timeout_ns,
                                 uint64_t *position);

/**
 * Ends a loan without publishing it. NULL does nothing. One thread at a time.
 */
void shm_loan_destroy(struct shm_loan *loan);

/**
 * Joins `topic` as a subscriber, making the topic when it doesn't exist.
 *
 * It receives what is published from now on, and before that as much as the option `history` asks for. `options` may
 * be NULL for the defaults. On SHM_OK `*subscriber` is the caller's, to be ended with
 * `shm_subscriber_destroy`. Any thread may call this at any time.
 *
 * Errors: SHM_ERR_NULL, SHM_ERR_INVALID_NAME, SHM_ERR_INVALID_OPTION; SHM_ERR_MISMATCH when the topic
 * exists and is smaller than `options` ask for, or shared with others; SHM_ERR_NO_PARTICIPANT, SHM_ERR_NO_SPACE,
 * SHM_ERR_NOT_TRUSTED, SHM_ERR_VERSION, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_subscriber_create(const char *topic,
                              const struct shm_subscriber_options *options,
                              struct shm_subscriber **subscriber);

/**
 * Ends receiving and leaves the topic.
 *
 * Samples that are still held stay valid; the subscriber leaves the topic when the last of them is released. Runs
 * while no other call on `subscriber` does; its samples may be read and released meanwhile, by any thread.
 */
void shm_subscriber_destroy(struct shm_subscriber *subscriber);

/**
 * Receives the next message if there is one. Never waits.
 *
 * On SHM_OK `*sample` is the caller's, to be ended with `shm_sample_release`. A subscriber that was too slow goes on
 * with a later message: see `shm_subscriber_lost`. One thread at a time.
 *
 * Outcomes: SHM_WOULD_BLOCK when no message has come. Errors: SHM_ERR_NULL; SHM_ERR_NO_HOLD when a
 * message is there, but as many samples are held as the topic allows; SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_subscriber_try_receive(struct shm_subscriber *subscriber,
                                   struct shm_sample **sample);

/**
 * Receives the next message, waiting for it as long as it takes.
 *
 * On SHM_OK `*sample` is the caller's, to be ended with `shm_sample_release`. A subscriber that was too slow goes on
 * with a later message: see `shm_subscriber_lost`. One thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_NO_HOLD when a message is there, but as many samples are held as the topic allows;
 * SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_subscriber_receive(struct shm_subscriber *subscriber,
                               struct shm_sample **sample);

/**
 * Receives the next message, waiting for it up to `timeout_ns` nanoseconds.
 *
 * On SHM_OK `*sample` is the caller's, to be ended with `shm_sample_release`. A subscriber that was too slow goes on
 * with a later message: see `shm_subscriber_lost`. One thread at a time.
 *
 * Outcomes: SHM_TIMED_OUT when no message came in that time. Errors: SHM_ERR_NULL; SHM_ERR_NO_HOLD when a
 * message is there, but as many samples are held as the topic allows; SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_subscriber_receive_timeout(struct shm_subscriber *subscriber,
                                       uint64_t timeout_ns,
                                       struct shm_sample **sample);

/**
 * Counts the messages that this subscriber was too slow for, exactly, since it joined.
 *
 * On SHM_OK `*lost` is the count. One thread at a time. Errors: SHM_ERR_NULL.
 */
int32_t shm_subscriber_lost(const struct shm_subscriber *subscriber, uint64_t *lost);

/**
 * Says what the topic is.
 *
 * The caller sets `info->struct_size` to sizeof(shm_topic_info) before; the struct stays the caller's. One
 * thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION when `info->struct_size` isn't the size of such a struct.
 */
int32_t shm_subscriber_info(const struct shm_subscriber *subscriber, struct shm_topic_info *info);

/**
 * The message's bytes, aligned to 64, `shm_sample_size` of them, for reading.
 *
 * NULL for NULL. Valid until the sample is released. Any thread may call this at any time.
 */
const void *shm_sample_data(const struct shm_sample *sample);

/**
 * The message's length in bytes. 0 for NULL. Any thread may call this at any time.
 */
size_t shm_sample_size(const struct shm_sample *sample);

/**
 * The message's place in the topic's order, which all subscribers share: consecutive messages have consecutive
 * positions. 0 for NULL. Any thread may call this at any time.
 */
uint64_t shm_sample_position(const struct shm_sample *sample);

/**
 * When the message was published, in nanoseconds since 1970 (CLOCK_REALTIME).
 *
 * 0 when its publisher was made without the option `timestamps`, and for NULL. Any thread may call this at any time.
 */
uint64_t shm_sample_timestamp(const struct shm_sample *sample);

/**
 * Gives the message's memory back to its publisher. NULL does nothing.
 *
 * Any thread may call this, while others use the subscriber and its other samples; it also is right while
 * `shm_subscriber_destroy` runs, and after that.
 */
void shm_sample_release(struct shm_sample *sample);

/**
 * Hands the sample over as a tensor of DLPack's older form, in place, without a copy.
 *
 * On SHM_OK the sample has become the tensor's, and `*tensor` is the caller's, to be used or passed on. One call of its
 * deleter ends it, from any thread, also while the subscriber is destroyed and after that: that releases the sample, which
 * takes one of the subscriber's holds until then, unless it is empty. Otherwise the sample is as it was, and the caller's. The tensor mustn't be
 * written to, which this form can't say: a write ends the process. Its data is aligned to 64 bytes. `type` is only read during
 * the call. No other thread uses the sample meanwhile.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_WRONG_SIZE when the message hasn't exactly as many bytes; SHM_ERR_INVALID_OPTION,
 * SHM_ERR_TOO_LARGE for a type that no tensor can have.
 */
int32_t shm_sample_to_dlpack(struct shm_sample *sample,
                             const struct shm_tensor_type *type,
                             struct DLManagedTensor **tensor);

/**
 * The same in the form since DLPack 1.0, marked as read-only.
 *
 * All else, errors too, is as with `shm_sample_to_dlpack`.
 */
int32_t shm_sample_to_dlpack_versioned(struct shm_sample *sample,
                                       const struct shm_tensor_type *type,
                                       struct DLManagedTensorVersioned **tensor);

/**
 * Gives the loan's memory as a tensor of DLPack's older form, to be filled in place.
 *
 * The loan stays the caller's. `*tensor` is a view of it, which one call of its deleter ends, from any thread and at any time;
 * that does nothing to the loan. The view mustn't be used after the loan was published, resized or destroyed. `type` is only read
 * during the call. One thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_WRONG_SIZE when the loan hasn't exactly as many bytes; SHM_ERR_INVALID_OPTION,
 * SHM_ERR_TOO_LARGE for a type that no tensor can have.
 */
int32_t shm_loan_to_dlpack(struct shm_loan *loan,
                           const struct shm_tensor_type *type,
                           struct DLManagedTensor **tensor);

/**
 * The same in the form since DLPack 1.0.
 *
 * All else, errors too, is as with `shm_loan_to_dlpack`.
 */
int32_t shm_loan_to_dlpack_versioned(struct shm_loan *loan,
                                     const struct shm_tensor_type *type,
                                     struct DLManagedTensorVersioned **tensor);

/**
 * Publishes a copy of a tensor, its elements in row-major order without gaps, however they lie there.
 *
 * `tensor` points to a `DLTensor` of <dlpack/dlpack.h>, in memory that the processor reads; it is only read during the call.
 * `position` may be NULL; otherwise it gets the message's place in the topic's order. Waits while a reliable subscriber has yet
 * to read what would be overwritten, for ever if that one lives and doesn't read. One thread at a time.
 *
 * Errors: those of `shm_publisher_publish`; SHM_ERR_INVALID_OPTION for a tensor that can't be; SHM_ERR_NO_DEVICE for one in
 * a device's memory.
 */
int32_t shm_publisher_publish_dlpack(struct shm_publisher *publisher,
                                     const void *tensor,
                                     uint64_t *position);

/**
 * Ends a tensor by calling its deleter, if it has one: for who doesn't include DLPack's header. NULL does nothing.
 *
 * Any thread may call this. The tensor isn't used afterwards.
 */
void shm_dlpack_destroy(struct DLManagedTensor *tensor);

/**
 * The same for a tensor of the form since DLPack 1.0. NULL does nothing.
 */
void shm_dlpack_destroy_versioned(struct DLManagedTensorVersioned *tensor);

/**
 * Sets `options` to the defaults and its `struct_size`.
 *
 * The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
 */
int32_t shm_client_options_init(struct shm_client_options *options);

/**
 * Sets `options` to the defaults and its `struct_size`.
 *
 * The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
 */
int32_t shm_server_options_init(struct shm_server_options *options);

/**
 * Joins `service` as a client, making the service when it doesn't exist.
 *
 * `options` may be NULL for the defaults. On SHM_OK `*client` is the caller's, to be ended with
 * `shm_client_destroy`. Any thread may call this at any time.
 *
 * Errors: SHM_ERR_NULL, SHM_ERR_INVALID_NAME, SHM_ERR_INVALID_OPTION; SHM_ERR_MISMATCH when the service
 * exists and is smaller than `options` ask for, or shared with others; SHM_ERR_NO_PARTICIPANT, SHM_ERR_NO_SPACE,
 * SHM_ERR_NOT_TRUSTED, SHM_ERR_VERSION, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_client_create(const char *service,
                          const struct shm_client_options *options,
                          struct shm_client **client);

/**
 * Ends calling and leaves the service.
 *
 * What is still out stays valid: pendings may be waited for and replies read, but request loans can't be sent any more
 * (SHM_ERR_CLOSED). The client leaves the service when the last of them has ended. Runs while no other call on `client` does, nor one
 * on its request loans, pendings and replies.
 */
void shm_client_destroy(struct shm_client *client);

/**
 * Lends `size` bytes of shared memory to write a request into: no copy is made when it is sent.
 *
 * The bytes are aligned to 64 and their content is unspecified. On SHM_OK `*loan` is the caller's, to be ended
 * with `shm_request_loan_send` or `shm_request_loan_destroy`. One thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_OUT_OF_MEMORY when the client's memory is used up by loans and by requests that servers hold;
 * SHM_ERR_TOO_LARGE, SHM_ERR_NO_SPACE, SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_client_loan(struct shm_client *client,
                        size_t size,
                        struct shm_request_loan **loan);

/**
 * Sends a copy of the `size` bytes at `data` as a request; the reply is for later. Never waits.
 *
 * `data` is only read during the call; it may be NULL when `size` is 0. On SHM_OK `*pending` is the caller's, to be ended with
 * `shm_pending_destroy`. As many calls may be in flight as the option `calls` says. One thread at a time.
 *
 * Errors: those of `shm_client_loan` and `shm_request_loan_send`.
 */
int32_t shm_client_send(struct shm_client *client,
                        const void *data,
                        size_t size,
                        struct shm_pending **pending);

/**
 * Sends a copy of the `size` bytes at `data` as a request and waits for the reply up to `timeout_ns` nanoseconds, or with
 * SHM_WAIT_FOREVER as long as it takes.
 *
 * `data` is only read during the call; it may be NULL when `size` is 0. On SHM_OK `*reply` is the caller's, to be ended with
 * `shm_reply_release`. Otherwise the call is cancelled. Of several replies it is the first, and no other one comes: see
 * `shm_client_send`. In a full queue it waits for room, too: without end, if `timeout_ns` says so and the living take none of what is
 * there. One thread at a time.
 *
 * Outcomes: SHM_TIMED_OUT when there was no reply in that time, or no room; SHM_END when the server sent the end of several replies
 * before any. Errors: those of `shm_client_send`, but for SHM_ERR_QUEUE_FULL, and of `shm_pending_wait`; SHM_ERR_NO_HOLD comes before
 * anything is sent.
 */
int32_t shm_client_call(struct shm_client *client,
                        const void *data,
                        size_t size,
                        uint64_t timeout_ns,
                        struct shm_reply **reply);

/**
 * The memory behind a request loan: aligned to 64, `shm_request_loan_size` bytes, for reading and writing.
 *
 * NULL for NULL. Valid until the loan ends or is resized. One thread at a time.
 */
void *shm_request_loan_data(struct shm_request_loan *loan);

/**
 * The length in bytes that the request would have if it were sent now. 0 for NULL. One thread at a time.
 */
size_t shm_request_loan_size(const struct shm_request_loan *loan);

/**
 * The length in bytes up to which `shm_request_loan_resize` moves nothing. 0 for NULL. One thread at a time.
 */
size_t shm_request_loan_capacity(const struct shm_request_loan *loan);

/**
 * Gives the request loan another length, moving it to other memory when it must.
 *
 * The content stays, up to the smaller of both lengths; what is added is unspecified. `shm_request_loan_data` must be asked
 * again. On an error the loan is as it was. One thread at a time.
 *
 * Errors: those of `shm_client_loan`.
 */
int32_t shm_request_loan_resize(struct shm_request_loan *loan,
                                size_t size);

/**
 * Says which of a service's functions is meant, by its name. Not needed for a service with only one.
 *
 * `function` is only read during the call; NULL: none, as it is without this. On an error the loan is as it was. One thread at a time.
 *
 * Errors: SHM_ERR_NULL, SHM_ERR_INVALID_NAME.
 */
int32_t shm_request_loan_set_function(struct shm_request_loan *loan,
                                      const char *function);

/**
 * Sends what was written into the loan as a request, without a copy; the reply is for later. Never waits.
 *
 * On SHM_OK the loan has ended, and `*pending` is the caller's, to be ended with `shm_pending_destroy`. On an error the loan is
 * as it was, and still the caller's, who may try again or has to destroy it. One thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_NO_SERVER when nobody serves, unless the option `wait_for_server` is set; SHM_ERR_TOO_MANY_CALLS when
 * as many calls are in flight as may be; SHM_ERR_QUEUE_FULL; SHM_ERR_CLOSED when the client was destroyed; SHM_ERR_FORKED,
 * SHM_ERR_CORRUPT.
 */
int32_t shm_request_loan_send(struct shm_request_loan *loan,
                              struct shm_pending **pending);

/**
 * Sends what was written into the loan as a request, without a copy, and waits for the reply up to `timeout_ns` nanoseconds, or with
 * SHM_WAIT_FOREVER as long as it takes.
 *
 * Otherwise as `shm_client_call`. The loan has ended, whatever is returned but SHM_ERR_NULL. One thread at a time.
 *
 * Outcomes: those of `shm_client_call`. Errors: those of `shm_client_call` and SHM_ERR_CLOSED when the client was destroyed.
 */
int32_t shm_request_loan_call(struct shm_request_loan *loan,
                              uint64_t timeout_ns,
                              struct shm_reply **reply);

/**
 * Ends a request loan without sending it. NULL does nothing. One thread at a time.
 */
void shm_request_loan_destroy(struct shm_request_loan *loan);

/**
 * Takes the reply if it is there; of several replies the next one. Never waits.
 *
 * On SHM_OK `*reply` is the caller's, to be ended with `shm_reply_release`. Only SHM_WOULD_BLOCK, SHM_ERR_NO_HOLD and SHM_ERR_OS
 * leave the call as it was; after another error it is over, and gives SHM_END. One thread at a time.
 *
 * Outcomes: SHM_WOULD_BLOCK when no reply has come yet; SHM_END when no further one comes. Errors: SHM_ERR_NULL; SHM_ERR_REMOTE
 * when the function that was called failed: `shm_last_error_code` and `shm_last_error_message` are what it says; SHM_ERR_PEER_DIED
 * when the server that had begun with the request died, or left; SHM_ERR_NO_REPLY when it gave the request up; SHM_ERR_NO_SERVER when
 * it died and there is no other one to send the request to, with the option `idempotent`; SHM_ERR_NO_HOLD when as many replies are held
 * as the service allows: release one and ask again; SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_pending_try_reply(struct shm_pending *pending,
                              struct shm_reply **reply);

/**
 * Waits for the reply up to `timeout_ns` nanoseconds, or with SHM_WAIT_FOREVER as long as it takes; of several replies for the
 * next one.
 *
 * On SHM_OK `*reply` is the caller's, to be ended with `shm_reply_release`. Only SHM_TIMED_OUT, SHM_ERR_NO_HOLD and SHM_ERR_OS
 * leave the call as it was; after another error it is over, and gives SHM_END. One thread at a time.
 *
 * Outcomes: SHM_TIMED_OUT when no reply came in that time; SHM_END when no further one comes. Errors: those of
 * `shm_pending_try_reply`; SHM_ERR_NO_SERVER when the last server went before one had begun with the request, unless the option
 * `wait_for_server` is set.
 */
int32_t shm_pending_wait(struct shm_pending *pending,
                         uint64_t timeout_ns,
                         struct shm_reply **reply);

/**
 * Ends the call, whatever has become of it: one that isn't over is cancelled. A server that hasn't begun with it never sees it, and
 * one that has can ask with `shm_request_is_cancelled`. Replies stay valid. NULL does nothing. One thread at a time.
 */
void shm_pending_destroy(struct shm_pending *pending);

/**
 * The reply's bytes, aligned to 64, `shm_reply_size` of them, for reading.
 *
 * NULL for NULL. Valid until the reply is released; any thread may read them until then. One thread at a time.
 */
const void *shm_reply_data(const struct shm_reply *reply);

/**
 * The reply's length in bytes. 0 for NULL. One thread at a time.
 */
size_t shm_reply_size(const struct shm_reply *reply);

/**
 * Gives the reply's memory back to its server. NULL does nothing. One thread at a time.
 */
void shm_reply_release(struct shm_reply *reply);

/**
 * Joins `service` as a server, making the service when it doesn't exist.
 *
 * `options` may be NULL for the defaults. On SHM_OK `*server` is the caller's, to be ended with
 * `shm_server_destroy`. Any thread may call this at any time.
 *
 * Errors: SHM_ERR_NULL, SHM_ERR_INVALID_NAME, SHM_ERR_INVALID_OPTION; SHM_ERR_MISMATCH when the service
 * exists and is smaller than `options` ask for, or shared with others; SHM_ERR_NO_PARTICIPANT, SHM_ERR_NO_SPACE,
 * SHM_ERR_NOT_TRUSTED, SHM_ERR_VERSION, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_server_create(const char *service,
                          const struct shm_server_options *options,
                          struct shm_server **server);

/**
 * Ends serving and leaves the service. Replies that were sent stay for their clients.
 *
 * What is still out stays valid: requests may be read and replied to, also by loans. The server leaves the service when the last of
 * them has ended. Runs while no other call on `server` does, nor one on its requests and reply loans.
 */
void shm_server_destroy(struct shm_server *server);

/**
 * Receives the next request if there is one. Never waits.
 *
 * On SHM_OK `*request` is the caller's, to be ended with a reply (`shm_request_reply`, `shm_request_fail`, `shm_request_finish`,
 * `shm_reply_loan_send`) or with `shm_request_destroy`. Several may be in hand, and end in any order. One thread at a time.
 *
 * Outcomes: SHM_WOULD_BLOCK when no request has come. Errors: SHM_ERR_NULL; SHM_ERR_NO_HOLD when a request is there, but as many
 * are held as the service allows; SHM_ERR_CORRUPT or SHM_ERR_OS when the request can't be read: it is given up; SHM_ERR_FORKED.
 */
int32_t shm_server_try_receive(struct shm_server *server,
                               struct shm_request **request);

/**
 * Receives the next request, waiting for it as long as it takes.
 *
 * On SHM_OK `*request` is the caller's, as with `shm_server_try_receive`. One thread at a time.
 *
 * Errors: those of `shm_server_try_receive`.
 */
int32_t shm_server_receive(struct shm_server *server, struct shm_request **request);

/**
 * Receives the next request, waiting for it up to `timeout_ns` nanoseconds.
 *
 * On SHM_OK `*request` is the caller's, as with `shm_server_try_receive`. One thread at a time.
 *
 * Outcomes: SHM_TIMED_OUT when no request came in that time. Errors: those of `shm_server_try_receive`.
 */
int32_t shm_server_receive_timeout(struct shm_server *server,
                                   uint64_t timeout_ns,
                                   struct shm_request **request);

/**
 * The request's bytes, aligned to 64, `shm_request_size` of them, for reading.
 *
 * NULL for NULL. Valid until the request ends; any thread may read them until then. One thread at a time.
 */
const void *shm_request_data(const struct shm_request *request);

/**
 * The request's length in bytes. 0 for NULL. One thread at a time.
 */
size_t shm_request_size(const struct shm_request *request);

/**
 * Which of the service's functions is meant: what `shm_function_number` says of the name that the client gave with
 * `shm_request_loan_set_function`; 0 when it gave none.
 *
 * 0 for NULL. One thread at a time.
 */
uint64_t shm_request_function(const struct shm_request *request);

/**
 * The number that stands for a function's name in requests, the same in all processes and versions: its 64-bit FNV-1a hash,
 * and 1 where that is 0.
 *
 * 0 for NULL, and for a name that isn't UTF-8. Any thread may call this at any time.
 */
uint64_t shm_function_number(const char *function);

/**
 * 1 when nobody waits for a reply any more, as the client cancelled the call or died, so that it isn't worth going on; else 0.
 *
 * 0 for NULL. One thread at a time.
 */
int32_t shm_request_is_cancelled(const struct shm_request *request);

/**
 * Replies with a copy of the `size` bytes at `data`.
 *
 * `data` is only read during the call; it may be NULL when `size` is 0. On SHM_OK and SHM_CANCELLED the request has ended. On an
 * error it is as it was, and still the caller's. After `shm_request_send_part` it waits as that does. One thread at a time.
 *
 * Outcomes: SHM_CANCELLED when nobody waits for the reply any more. Errors: SHM_ERR_NULL; SHM_ERR_OUT_OF_MEMORY when the server's
 * memory is used up by loans and by replies that clients hold or have yet to take; SHM_ERR_TOO_LARGE, SHM_ERR_NO_SPACE,
 * SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_request_reply(struct shm_request *request,
                          const void *data,
                          size_t size);

/**
 * Replies that the function failed: its caller gets SHM_ERR_REMOTE, with `code` and `message`.
 *
 * `message` is UTF-8, or NULL for none; it is only read during the call. On SHM_OK and SHM_CANCELLED the request has ended. On an
 * error it is as it was, and still the caller's. After `shm_request_send_part` it waits as that does. One thread at a time.
 *
 * Outcomes and errors: those of `shm_request_reply`.
 */
int32_t shm_request_fail(struct shm_request *request,
                         int32_t code,
                         const char *message);

/**
 * Replies that the function failed, as `shm_request_fail`, but after `shm_request_send_part` waits for the client no longer than
 * `timeout_ns` nanoseconds.
 *
 * On SHM_OK and SHM_CANCELLED the request has ended. Otherwise it is as it was, and still the caller's. One thread at a time.
 *
 * Outcomes: SHM_TIMED_OUT when the client hadn't taken the reply before in that time; SHM_CANCELLED. Errors: those of
 * `shm_request_reply`.
 */
int32_t shm_request_fail_timeout(struct shm_request *request,
                                 int32_t code,
                                 const char *message,
                                 uint64_t timeout_ns);

/**
 * Sends a copy of the `size` bytes at `data` as one of several replies; the last is followed by `shm_request_finish` or
 * `shm_request_fail`.
 *
 * `data` is only read during the call; it may be NULL when `size` is 0. The request goes on, whatever is returned. Waits until the
 * client has taken the reply before, for ever if that one lives and doesn't. One thread at a time.
 *
 * Outcomes and errors: those of `shm_request_reply`.
 */
int32_t shm_request_send_part(struct shm_request *request,
                              const void *data,
                              size_t size);

/**
 * Sends a copy of the `size` bytes at `data` as one of several replies, as `shm_request_send_part`, but waits for the client no longer
 * than `timeout_ns` nanoseconds.
 *
 * `data` is only read during the call; it may be NULL when `size` is 0. The request goes on, whatever is returned. One thread at a
 * time.
 *
 * Outcomes: SHM_TIMED_OUT when the client hadn't taken the reply before in that time: this one wasn't sent; SHM_CANCELLED.
 * Errors: those of `shm_request_reply`.
 */
int32_t shm_request_send_part_timeout(struct shm_request *request,
                                      const void *data,
                                      size_t size,
                                      uint64_t timeout_ns);

/**
 * Ends several replies: the caller of the function gets SHM_END. Waits as `shm_request_send_part` does.
 *
 * On SHM_OK and SHM_CANCELLED the request has ended. On an error it is as it was, and still the caller's. One thread at a time.
 *
 * Outcomes and errors: those of `shm_request_reply`.
 */
int32_t shm_request_finish(struct shm_request *request);

/**
 * Ends several replies, as `shm_request_finish`, but waits for the client no longer than `timeout_ns` nanoseconds.
 *
 * On SHM_OK and SHM_CANCELLED the request has ended. Otherwise it is as it was, and still the caller's. One thread at a time.
 *
 * Outcomes: SHM_TIMED_OUT when the client hadn't taken the reply before in that time; SHM_CANCELLED. Errors: those of
 * `shm_request_reply`.
 */
int32_t shm_request_finish_timeout(struct shm_request *request,
                                   uint64_t timeout_ns);

/**
 * Gives the request up: the caller of the function gets SHM_ERR_NO_REPLY. NULL does nothing. One thread at a time.
 */
void shm_request_destroy(struct shm_request *request);

/**
 * Lends `size` bytes of shared memory to write the reply to `request` into: no copy is made when it is sent.
 *
 * The bytes are aligned to 64 and their content is unspecified. The request stays the caller's, and readable. On SHM_OK `*loan` is
 * the caller's, to be ended with `shm_reply_loan_send`, which ends the request as well, or with `shm_reply_loan_destroy`. One thread
 * at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_OUT_OF_MEMORY when the server's memory is used up by loans and by replies that clients hold or have
 * yet to take; SHM_ERR_TOO_LARGE, SHM_ERR_NO_SPACE, SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_reply_loan_create(struct shm_request *request,
                              size_t size,
                              struct shm_reply_loan **loan);

/**
 * The memory behind a reply loan: aligned to 64, `shm_reply_loan_size` bytes, for reading and writing.
 *
 * NULL for NULL. Valid until the loan ends or is resized. One thread at a time.
 */
void *shm_reply_loan_data(struct shm_reply_loan *loan);

/**
 * The length in bytes that the reply would have if it were sent now. 0 for NULL. One thread at a time.
 */
size_t shm_reply_loan_size(const struct shm_reply_loan *loan);

/**
 * The length in bytes up to which `shm_reply_loan_resize` moves nothing. 0 for NULL. One thread at a time.
 */
size_t shm_reply_loan_capacity(const struct shm_reply_loan *loan);

/**
 * Gives the reply loan another length, moving it to other memory when it must.
 *
 * The content stays, up to the smaller of both lengths; what is added is unspecified. `shm_reply_loan_data` must be asked
 * again. On an error the loan is as it was. One thread at a time.
 *
 * Errors: those of `shm_reply_loan_create`.
 */
int32_t shm_reply_loan_resize(struct shm_reply_loan *loan,
                              size_t size);

/**
 * Replies with what was written into the loan, without a copy.
 *
 * On SHM_OK and SHM_CANCELLED the loan and its request have ended. On an error both are as they were, and still the caller's.
 * After `shm_request_send_part` it waits as that does. One thread at a time.
 *
 * Outcomes: SHM_CANCELLED when nobody waits for the reply any more. Errors: SHM_ERR_NULL; SHM_ERR_CLOSED when the request has ended;
 * SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_reply_loan_send(struct shm_reply_loan *loan);

/**
 * Sends what was written into the loan as one of several replies, without a copy; the last is followed by `shm_request_finish` or
 * `shm_request_fail`. Waits as `shm_request_send_part` does.
 *
 * On SHM_OK and SHM_CANCELLED the loan has ended; on an error it is as it was, and still the caller's. The request goes on, whatever
 * is returned. One thread at a time.
 *
 * Outcomes and errors: those of `shm_reply_loan_send`.
 */
int32_t shm_reply_loan_send_part(struct shm_reply_loan *loan);

/**
 * Sends what was written into the loan as one of several replies, as `shm_reply_loan_send_part`, but waits for the client no longer
 * than `timeout_ns` nanoseconds.
 *
 * On SHM_OK and SHM_CANCELLED the loan has ended; otherwise it is as it was, and still the caller's. The request goes on, whatever is
 * returned. One thread at a time.
 *
 * Outcomes: SHM_TIMED_OUT when the client hadn't taken the reply before in that time; SHM_CANCELLED. Errors: those of
 * `shm_reply_loan_send`.
 */
int32_t shm_reply_loan_send_part_timeout(struct shm_reply_loan *loan,
                                         uint64_t timeout_ns);

/**
 * Ends a reply loan without sending it; its request goes on. NULL does nothing. One thread at a time.
 */
void shm_reply_loan_destroy(struct shm_reply_loan *loan);

/**
 * Sets `ops` to a copier that can do nothing yet, and its `struct_size`.
 *
 * The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
 */
int32_t shm_copier_ops_init(struct shm_copier_ops *ops);

/**
 * Makes a copier of the functions in `ops`, which is only read during the call.
 *
 * On SHM_OK `*copier` is the caller's, to be ended with `shm_copier_destroy`, and `ops->destroy` will be called once; otherwise it never is. Any
 * thread may call this at any time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION when a function is missing; SHM_ERR_OS.
 */
int32_t shm_copier_create(const struct shm_copier_ops *ops,
                          struct shm_copier **copier);

/**
 * Ends the use of a copier. NULL does nothing.
 *
 * The copier itself ends, by its `destroy`, when the copies on streams that it began have ended, and the stream publishers that copy with it are
 * destroyed. What it allocated has to be freed before. Runs while no other call on `copier` does.
 */
void shm_copier_destroy(struct shm_copier *copier);

/**
 * Allocates `size` bytes of the copier's memory.
 *
 * On SHM_OK `*memory` is the caller's, to be freed with `shm_copier_dealloc` and the same size; NULL when `size` is 0. Any threads, also at
 * once.
 *
 * Errors: SHM_ERR_NULL, SHM_ERR_COPIER, SHM_ERR_FORKED.
 */
int32_t shm_copier_alloc(const struct shm_copier *copier,
                         size_t size,
                         void **memory);

/**
 * Frees `size` bytes that the copier allocated. `memory` may be NULL: then there is nothing to free.
 *
 * Any threads, also at once. Errors: SHM_ERR_NULL; SHM_ERR_COPIER: whether it is freed isn't known then; SHM_ERR_FORKED.
 */
int32_t shm_copier_dealloc(const struct shm_copier *copier,
                           void *memory,
                           size_t size);

/**
 * Copies `size` bytes from `src`, which lie in a sample, a request or a reply, to the user's memory at `dst`.
 *
 * `dst` and `src` may be NULL when `size` is 0. Any threads, also at once. Errors: SHM_ERR_NULL; SHM_ERR_COPIER: what `dst` contains isn't
 * specified then; SHM_ERR_TOO_LARGE, SHM_ERR_FORKED.
 */
int32_t shm_copier_shm_to_user(const struct shm_copier *copier,
                               void *dst,
                               const void *src,
                               size_t size);

/**
 * Copies `size` bytes of the user's memory at `src` to `dst`, which lies in a loan of a message, a request or a reply.
 *
 * `dst` and `src` may be NULL when `size` is 0. Any threads, also at once. Errors: SHM_ERR_NULL; SHM_ERR_COPIER: what `dst` contains isn't
 * specified then; SHM_ERR_TOO_LARGE, SHM_ERR_FORKED.
 */
int32_t shm_copier_user_to_shm(const struct shm_copier *copier,
                               void *dst,
                               const void *src,
                               size_t size);

/**
 * Copies `size` bytes from `src`, which lie in a sample, a request or a reply, to memory that the copier allocates for them.
 *
 * On SHM_OK `*memory` is the caller's, to be freed with `shm_copier_dealloc` and the same size; NULL when `size` is 0. Any threads, also at once.
 * Errors: SHM_ERR_NULL, SHM_ERR_COPIER, SHM_ERR_TOO_LARGE, SHM_ERR_FORKED; nothing is left allocated then.
 */
int32_t shm_copier_copy_out(const struct shm_copier *copier,
                            const void *src,
                            size_t size,
                            void **memory);

/**
 * Publishes a copy of the `size` bytes of the copier's memory at `src`. Otherwise as `shm_publisher_publish`.
 *
 * `src` may be NULL when `size` is 0. `position` may be NULL; otherwise it gets the message's place in the topic's order. One thread at a time uses
 * the publisher.
 *
 * Errors: those of `shm_publisher_publish`; SHM_ERR_COPIER: nothing is published then.
 */
int32_t shm_publisher_publish_from(struct shm_publisher *publisher,
                                   const struct shm_copier *copier,
                                   const void *src,
                                   size_t size,
                                   uint64_t *position);

/**
 * Copies a sample to the user's memory at `dst` when `stream` comes to it, and releases it then. Doesn't wait for that.
 *
 * `stream` is what the copier's kind of memory calls one, for CUDA a CUstream; NULL is its default one. Until the copy has ended `dst` is used by nothing but
 * this, and what is behind it on `stream`. `done`, which may be NULL, is called with `done_data` when it has: exactly once, by any thread, if SHM_OK
 * was returned; with SHM_ERR_COPIER when it failed, and then `shm_last_error_message` and `shm_last_error_code` say more in `done`. It must not wait for
 * other copies or stream publishers of this copier. For a sample of no bytes nothing is copied, and `done` called at once. The sample isn't
 * the caller's any more after SHM_OK, and otherwise what it was. Any thread may call this at any time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_CLOSED when the sample was released before; SHM_ERR_FORKED.
 */
int32_t shm_sample_copy_on_stream(struct shm_sample *sample,
                                  const struct shm_copier *copier,
                                  void *dst,
                                  void *stream,
                                  shm_done done,
                                  void *done_data);

/**
 * Sets `options` to the defaults and its `struct_size`.
 *
 * The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
 */
int32_t shm_cpu_copier_options_init(struct shm_cpu_copier_options *options);

/**
 * Makes a copier of the process's own memory. What it allocates is aligned to 64; it copies any memory of the process, of any length and alignment.
 *
 * `options` may be NULL for the defaults. On SHM_OK `*copier` is the caller's, to be ended with `shm_copier_destroy`. Any thread may call this at any
 * time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION; SHM_ERR_OS when a thread can't be started.
 */
int32_t shm_copier_cpu_create(const struct shm_cpu_copier_options *options,
                              struct shm_copier **copier);

/**
 * Says what a copier of the process's own memory copies `size` bytes with on this machine when it is asked for `copy`, both a SHM_CPU_COPY_*.
 *
 * Never SHM_CPU_COPY_AUTO; SHM_CPU_COPY_LIBC for a number that is none of them. Any thread may call this at any time.
 */
uint32_t shm_cpu_copy_implementation(uint32_t copy,
                                     size_t size);

/**
 * Sets `options` to the defaults, device 0, and its `struct_size`.
 *
 * The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
 */
int32_t shm_cuda_options_init(struct shm_cuda_options *options);

/**
 * Makes a copier between shared memory and the memory of one NVIDIA GPU; also memory of the process that it reaches, managed or registered.
 *
 * It works in the device's primary context, which the CUDA runtime works in, and leaves the calling thread's context as it is. Copies without a
 * stream are made on a stream of its own, which doesn't wait for others: the work on the memory must have ended. NVIDIA's driver is opened at
 * the first call; nothing else of the library needs it. What copies go to or from is kept in main memory by the driver: a segment whole.
 *
 * `options` may be NULL for the defaults. On SHM_OK `*copier` is the caller's, to be ended with `shm_copier_destroy`. Any thread may call this at
 * any time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION; SHM_ERR_NO_DEVICE when there is no driver, or no such device; SHM_ERR_COPIER when the driver
 * fails; SHM_ERR_OS.
 */
int32_t shm_copier_cuda_create(const struct shm_cuda_options *options,
                               struct shm_copier **copier);

/**
 * Joins `topic` as a publisher that copies with `copier`, making the topic when it doesn't exist.
 *
 * `options` may be NULL for the defaults. On SHM_OK `*publisher` is the caller's, to be ended with `shm_stream_publisher_destroy`; it has a share
 * in the copier, whose handle may be destroyed before. Any thread may call this at any time. Errors: those of `shm_publisher_create`.
 */
int32_t shm_stream_publisher_create(const char *topic,
                                    const struct shm_publisher_options *options,
                                    const struct shm_copier *copier,
                                    struct shm_stream_publisher **publisher);

/**
 * Waits until all that was begun has ended, then leaves the topic. NULL does nothing.
 *
 * A stream that never comes to a copy makes this wait for ever. Runs while no other call on `publisher` does.
 */
void shm_stream_publisher_destroy(struct shm_stream_publisher *publisher);

/**
 * Has the `size` bytes of the copier's memory at `src` copied and published when `stream` comes to it. Doesn't wait for that.
 *
 * `stream` is what the copier's kind of memory calls one, for CUDA a CUstream; NULL is its default one. Until it has ended nothing writes to `src` but what is before
 * or behind this on `stream`. How it ended says `shm_stream_publisher_wait`. While a reliable subscriber has yet to read what would be overwritten, this
 * publisher's messages wait, and streams go on. A copier that has no copies on streams of its own copies at once. A message of no bytes isn't copied,
 * wherever the stream is. `src` may be NULL for one. Any threads, also at once.
 *
 * Errors: those of `shm_publisher_loan`; SHM_ERR_NULL.
 */
int32_t shm_stream_publisher_publish(struct shm_stream_publisher *publisher,
                                     const void *src,
                                     size_t size,
                                     void *stream);

/**
 * Waits until everything that was begun before has ended, but not longer than `timeout_ns` nanoseconds.
 *
 * Any threads, also at once. Outcomes: SHM_TIMED_OUT. Errors: what the first one failed with that wasn't reported before, which isn't published:
 * SHM_ERR_COPIER, or one of those of `shm_loan_publish`; SHM_ERR_NULL, SHM_ERR_FORKED.
 */
int32_t shm_stream_publisher_wait(struct shm_stream_publisher *publisher,
                                  uint64_t timeout_ns);

/**
 * Says what the topic is.
 *
 * The caller sets `info->struct_size` to sizeof(shm_topic_info) before; the struct stays the caller's. Any threads, also at once.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION when `info->struct_size` isn't the size of such a struct.
 */
int32_t shm_stream_publisher_info(const struct shm_stream_publisher *publisher,
                                  struct shm_topic_info *info);

/**
 * Sets `options` to the defaults and its `struct_size`.
 *
 * The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
 */
int32_t shm_device_options_init(struct shm_device_options *options);

/**
 * Joins `topic`, making it when it doesn't exist, to publish from the memory of a GPU.
 *
 * `options` may be NULL for the defaults; its `memory` must be 0. `device` says which GPU, and how much of its memory. On SHM_OK `*publisher` is the caller's, to be
 * ended with `shm_device_publisher_destroy`. Any thread may call this at any time.
 *
 * Errors: those of `shm_publisher_create`; SHM_ERR_NO_DEVICE when there is no driver or no such GPU; SHM_ERR_COPIER, for instance with SHM_PLACEMENT_DEVICE where
 * other processes can't map this GPU's memory.
 */
int32_t shm_device_publisher_create(const char *topic,
                                    const struct shm_publisher_options *options,
                                    const struct shm_device_options *device,
                                    struct shm_device_publisher **publisher);

/**
 * Waits until all that was begun on streams has ended, then leaves the topic. NULL does nothing.
 *
 * What it published goes with it, but for what subscribers have mapped. With loans out it leaves when the last of them is destroyed. Runs while no other call on
 * `publisher` does.
 */
void shm_device_publisher_destroy(struct shm_device_publisher *publisher);

/**
 * Lends memory for a message of `size` bytes that the GPU reads and writes, and nobody else.
 *
 * The content is unspecified. On SHM_OK `*loan` is the caller's, to be ended with `shm_device_loan_publish`, `shm_device_loan_publish_on_stream` or
 * `shm_device_loan_destroy`. Any threads, also at once.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_TOO_LARGE beyond the option `largest`; SHM_ERR_OUT_OF_MEMORY when all blocks are loaned, held by subscribers, or have yet to be read by
 * a reliable one; SHM_ERR_COPIER when the GPU has no memory for a block; SHM_ERR_NO_SPACE, SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_device_publisher_loan(struct shm_device_publisher *publisher,
                                  size_t size,
                                  struct shm_device_loan **loan);

/**
 * Waits until everything that was begun on streams before has ended, but not longer than `timeout_ns` nanoseconds.
 *
 * Any threads, also at once. Outcomes: SHM_TIMED_OUT. Errors: what the first one failed with that wasn't reported before, which isn't published:
 * SHM_ERR_COPIER, or one of those of `shm_loan_publish`; SHM_ERR_NULL.
 */
int32_t shm_device_publisher_wait(struct shm_device_publisher *publisher,
                                  uint64_t timeout_ns);

/**
 * Where the next loan is: SHM_PLACEMENT_DEVICE or SHM_PLACEMENT_HOST. 0 for NULL. Any threads, also at once.
 */
uint32_t shm_device_publisher_placement(const struct shm_device_publisher *publisher);

/**
 * Says what the topic is.
 *
 * The caller sets `info->struct_size` to sizeof(shm_topic_info) before; the struct stays the caller's. Any threads, also at once.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION when `info->struct_size` isn't the size of such a struct.
 */
int32_t shm_device_publisher_info(const struct shm_device_publisher *publisher,
                                  struct shm_topic_info *info);

/**
 * Where the GPU reads and writes it: a CUdeviceptr, aligned to 64, of `shm_device_loan_size` bytes.
 *
 * NULL for NULL. Valid until the loan ends. One thread at a time.
 */
void *shm_device_loan_data(struct shm_device_loan *loan);

/**
 * The message's length in bytes. 0 for NULL. One thread at a time.
 */
size_t shm_device_loan_size(const struct shm_device_loan *loan);

/**
 * Where it is: SHM_PLACEMENT_DEVICE or SHM_PLACEMENT_HOST. 0 for NULL. One thread at a time.
 */
uint32_t shm_device_loan_placement(const struct shm_device_loan *loan);

/**
 * Publishes the message. All work on it has ended; otherwise `shm_device_loan_publish_on_stream`.
 *
 * On SHM_OK the loan has ended. On an error it isn't published, and the handle is still the caller's, who has to destroy it. `position` may be NULL; otherwise it gets the
 * message's place in the topic's order. Waits while a reliable subscriber has yet to read what would be overwritten. One thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_CLOSED when the publisher was destroyed, or publishing it has failed before; SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
 */
int32_t shm_device_loan_publish(struct shm_device_loan *loan,
                                uint64_t *position);

/**
 * Has the message published when `stream`, a CUstream of the GPU's primary context, comes to it: when all that is on it by now has been done.
 *
 * Doesn't wait. How it ended says `shm_device_publisher_wait`. On SHM_OK the loan has ended; `stream` lives until the message is published. On an error it isn't published, and
 * the handle is still the caller's, who has to destroy it. Work on the message that isn't on `stream` has ended. One thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_COPIER, for instance when the stream is being captured into a graph; SHM_ERR_CLOSED, SHM_ERR_FORKED.
 */
int32_t shm_device_loan_publish_on_stream(struct shm_device_loan *loan,
                                          void *stream);

/**
 * Ends a loan without publishing it. Work on it must have ended. NULL does nothing. One thread at a time.
 */
void shm_device_loan_destroy(struct shm_device_loan *loan);

/**
 * Joins `topic` as a subscriber for the GPU that CUDA counts as `device`, from 0, making the topic when it doesn't exist.
 *
 * `options` may be NULL for the defaults. On SHM_OK `*subscriber` is the caller's, to be ended with `shm_device_subscriber_destroy`. Any thread may call this at any time.
 *
 * Errors: those of `shm_subscriber_create`; SHM_ERR_NO_DEVICE when there is no driver or no such GPU; SHM_ERR_COPIER.
 */
int32_t shm_device_subscriber_create(const char *topic,
                                     const struct shm_subscriber_options *options,
                                     uint32_t device,
                                     struct shm_device_subscriber **subscriber);

/**
 * Ends receiving and leaves the topic. NULL does nothing.
 *
 * Samples that are still held stay valid; the subscriber leaves the topic when the last of them is released. Runs while no other call on `subscriber` does.
 */
void shm_device_subscriber_destroy(struct shm_device_subscriber *subscriber);

/**
 * Receives the next message if there is one.
 *
 * Doesn't wait, but for the first message of each block of a publisher, which is asked for it: that takes as long as its process needs to be scheduled, and a second if it is
 * stopped. A message of a publisher that is gone, and whose block wasn't mapped before, is passed over and counted as lost. On SHM_OK `*sample` is the caller's, to be ended with
 * `shm_device_sample_release` or `shm_device_sample_release_on_stream`. One thread at a time.
 *
 * Outcomes: SHM_WOULD_BLOCK when no message has come. Errors: those of `shm_subscriber_try_receive`. And these, after which the message is lost: SHM_ERR_COPIER when its memory
 * can't be mapped here, with what to do; SHM_ERR_OS when its publisher doesn't answer; SHM_ERR_DECODE when it isn't a device message.
 */
int32_t shm_device_subscriber_try_receive(struct shm_device_subscriber *subscriber,
                                          struct shm_device_sample **sample);

/**
 * Receives the next message, waiting for it as long as it takes. Otherwise as `shm_device_subscriber_try_receive`.
 *
 * Errors: those of `shm_device_subscriber_try_receive`.
 */
int32_t shm_device_subscriber_receive(struct shm_device_subscriber *subscriber,
                                      struct shm_device_sample **sample);

/**
 * Receives the next message, waiting for it up to `timeout_ns` nanoseconds. Otherwise as `shm_device_subscriber_try_receive`.
 *
 * Outcomes: SHM_TIMED_OUT when no message came in that time. Errors: those of `shm_device_subscriber_try_receive`.
 */
int32_t shm_device_subscriber_receive_timeout(struct shm_device_subscriber *subscriber,
                                              uint64_t timeout_ns,
                                              struct shm_device_sample **sample);

/**
 * Counts the messages that this subscriber was too slow for, or whose payload couldn't be reached, since it joined.
 *
 * On SHM_OK `*lost` is the count. One thread at a time. Errors: SHM_ERR_NULL.
 */
int32_t shm_device_subscriber_lost(const struct shm_device_subscriber *subscriber,
                                   uint64_t *lost);

/**
 * Says what the topic is.
 *
 * The caller sets `info->struct_size` to sizeof(shm_topic_info) before; the struct stays the caller's. One thread at a time.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION when `info->struct_size` isn't the size of such a struct.
 */
int32_t shm_device_subscriber_info(const struct shm_device_subscriber *subscriber,
                                   struct shm_topic_info *info);

/**
 * Where the GPU reads it: a CUdeviceptr, aligned to 64, of `shm_device_sample_size` bytes, for reading.
 *
 * NULL for NULL. Valid until the sample is released. Any thread may call this at any time.
 */
const void *shm_device_sample_data(const struct shm_device_sample *sample);

/**
 * The message's length in bytes. 0 for NULL. Any thread may call this at any time.
 */
size_t shm_device_sample_size(const struct shm_device_sample *sample);

/**
 * The message's place in the topic's order. 0 for NULL. Any thread may call this at any time.
 */
uint64_t shm_device_sample_position(const struct shm_device_sample *sample);

/**
 * When the message was published, in nanoseconds since 1970 (CLOCK_REALTIME).
 *
 * 0 when its publisher was made without the option `timestamps`, and for NULL. Any thread may call this at any time.
 */
uint64_t shm_device_sample_timestamp(const struct shm_device_sample *sample);

/**
 * Where it is: SHM_PLACEMENT_DEVICE or SHM_PLACEMENT_HOST. 0 for NULL. Any thread may call this at any time.
 */
uint32_t shm_device_sample_placement(const struct shm_device_sample *sample);

/**
 * Gives the message's memory back to its publisher. The GPU's work on it must have ended. NULL does nothing.
 *
 * Any thread may call this, while others use the subscriber and its other samples, and after `shm_device_subscriber_destroy`.
 */
void shm_device_sample_release(struct shm_device_sample *sample);

/**
 * Gives the message's memory back when `stream`, a CUstream of the GPU's primary context, comes to that: when all that is on it by now has been done.
 *
 * Doesn't wait. The sample has ended, whatever is returned, unless that is SHM_ERR_NULL; `stream` lives until it is released. Any thread, as for `shm_device_sample_release`.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_COPIER, for instance when the stream is being captured into a graph, and SHM_ERR_FORKED: it was released at once.
 */
int32_t shm_device_sample_release_on_stream(struct shm_device_sample *sample,
                                            void *stream);

/**
 * Hands the sample over as a tensor of the GPU in DLPack's older form, in place, without a copy.
 *
 * On SHM_OK the sample has become the tensor's, and `*tensor` is the caller's, to be used or passed on. One call of its deleter, from any thread, releases the sample;
 * the GPU's work on it must have ended by then. Otherwise the sample is as it was, and the caller's. The tensor is only to be read, on any stream. `type` is only read during the
 * call. No other thread uses the sample meanwhile.
 *
 * Errors: those of `shm_sample_to_dlpack`.
 */
int32_t shm_device_sample_to_dlpack(struct shm_device_sample *sample,
                                    const struct shm_tensor_type *type,
                                    struct DLManagedTensor **tensor);

/**
 * The same in the form since DLPack 1.0, marked as read-only.
 *
 * All else, errors too, is as with `shm_device_sample_to_dlpack`.
 */
int32_t shm_device_sample_to_dlpack_versioned(struct shm_device_sample *sample,
                                              const struct shm_tensor_type *type,
                                              struct DLManagedTensorVersioned **tensor);

/**
 * Takes away what the dead left in a root: topics and services that nobody uses, those that were never finished, and in
 * those that are in use the entries and the holds of the dead. Never what is in use.
 *
 * The root is for topics and services alone: an empty directory in it is taken for what a removal left, and goes.
 *
 * Nobody needs to call this: whoever joins one does the same for it. It is for those that nobody joins any more.
 *
 * `options` may be NULL for the defaults. The caller sets `collected->struct_size` to sizeof(shm_collected) before;
 * the struct stays the caller's. Any thread may call this at any time, several at once.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION, also when `collected->struct_size` isn't the size of such a struct;
 * SHM_ERR_NOT_TRUSTED and SHM_ERR_OS for the root. What can't be done to one of them counts as `refused`,
 * and `shm_audit` says more of it. A root that isn't there has nothing to take away.
 */
int32_t shm_gc(const struct shm_root_options *options,
               struct shm_collected *collected);

/**
 * Looks through all topics and services of a root, and at the files and the words of each. Changes nothing and takes no
 * part.
 *
 * It may run at any time and disturbs nobody, but is exact only while nobody joins, leaves, publishes, receives or calls:
 * what is in motion while it looks may be reported though nothing is wrong.
 *
 * `found` may be NULL; otherwise it is called with SHM_KIND_TOPIC or SHM_KIND_SERVICE, with the name of that topic or
 * service, with words in UTF-8, and with `user_data`, once for each thing that should not be. It is called by this thread
 * and before `shm_audit` returns. Both strings belong to the library and are valid during that call: copy what is to be
 * kept. `found` may call any function of this interface. It must return: a C++ exception or a longjmp must not leave it.
 *
 * `options` may be NULL for the defaults. The caller sets `summary->struct_size` to sizeof(shm_audit_summary)
 * before; the struct stays the caller's. Any thread may call this at any time, several at once.
 *
 * Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION, also when `summary->struct_size` isn't the size of such a struct;
 * SHM_ERR_NOT_TRUSTED and SHM_ERR_OS for the root. `found` isn't called then. What can't be read of one of them
 * is a finding, and a root that isn't there has none.
 */
int32_t shm_audit(const struct shm_root_options *options,
                  void (*found)(uint32_t kind, const char *name, const char *finding, void *user_data),
                  void *user_data,
                  struct shm_audit_summary *summary);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SHM_SHM_H */
