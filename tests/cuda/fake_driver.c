// SPDX-License-Identifier: MIT OR Apache-2.0
//! A libcuda.so.1 for tests, for machines without a GPU: what the library calls of the driver, with its rules, and with counters.
//!
//! - A device's memory lies where nobody may touch it; only copies reach what is behind it (`behind`).
//! - A stream is a thread that does its work in order. `fake_hold` stops all of them, at once or in the middle of the next copy.
//! - What the real driver forbids, or what would be slow there, is counted: calls from within a callback, calls without a context, copies
//!   of memory that isn't registered, memory that was unmapped while it was registered, what is left when a context ends.
//! - `fake_fail` has a call fail; of the name "copy" the device itself does, which the context doesn't survive.
//!
//! The declarations are its own. Compiled with -D_GNU_SOURCE -include cuda.h, they are checked against the real ones.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __cuda_cuda_h__
typedef CUresult Result;
typedef CUdevice_attribute DeviceAttribute;
typedef CUpointer_attribute PointerAttribute;
typedef CUstreamCaptureStatus CaptureStatus;
typedef CUstreamCaptureMode CaptureMode;
#else
typedef unsigned Result;
typedef int DeviceAttribute, PointerAttribute, CaptureStatus, CaptureMode;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUstream_st *CUstream;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef void (*CUstreamCallback)(CUstream, Result, void *);
#define cuDevicePrimaryCtxRelease cuDevicePrimaryCtxRelease_v2
#define cuCtxPushCurrent cuCtxPushCurrent_v2
#define cuCtxPopCurrent cuCtxPopCurrent_v2
#define cuStreamDestroy cuStreamDestroy_v2
#define cuMemAlloc cuMemAlloc_v2
#define cuMemFree cuMemFree_v2
#define cuMemHostRegister cuMemHostRegister_v2
#define cuMemGetInfo cuMemGetInfo_v2
#define cuMemsetD8 cuMemsetD8_v2
#define cuMemcpyDtoH cuMemcpyDtoH_v2
#define cuMemcpyHtoD cuMemcpyHtoD_v2
#endif

enum {
  OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201, INVALID_HANDLE = 400, ILLEGAL_ADDRESS = 700, ALREADY_REGISTERED = 712, NOT_REGISTERED = 713,
  NOT_PERMITTED = 800, NOT_SUPPORTED = 801, CAPTURE_UNSUPPORTED = 900,
};

#define DEVICES 2
#define SPACE ((size_t)1 << 32)
#define PLACES 4096

struct CUctx_st { int device, references; Result failed; };

typedef struct { uintptr_t start; size_t len; int device; unsigned flags; } Range;

typedef struct Work {
  struct Work *next;
  CUdeviceptr to, from;
  size_t len;
  void *staged; // of memory that isn't registered, taken at once
  CUstreamCallback callback;
  void *data;
  CUfunction kernel; // with to, len in words, seed and wrong
  unsigned seed;
  CUdeviceptr wrong;
} Work;

struct CUstream_st {
  struct CUctx_st *context;
  pthread_t thread;
  Work *first, **last;
  int is_busy, is_ending, is_capturing;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct CUctx_st contexts[DEVICES];
static struct CUstream_st *defaults[DEVICES];
static char *spaces[DEVICES], *behinds[DEVICES];
static size_t used[DEVICES];
static Range allocations[PLACES], registrations[PLACES];
static int is_ready, held, midway;
static __thread int is_in_callback, depth;
static __thread struct CUctx_st *stack[16];

// ---- Counters and failures, for the tests.

static struct { const char *name; uint64_t value; } counters[64];

static uint64_t *counter(const char *name) {
  int i = 0;
  while (counters[i].name && strcmp(counters[i].name, name)) i++;
  if (!counters[i].name) counters[i].name = strdup(name);
  return &counters[i].value;
}

static struct { char call[64]; int left; Result result; } failure;

static Result failing(const char *call) {
  if (!failure.call[0] || strcmp(failure.call, call) || --failure.left > 0) return OK;
  failure.call[0] = 0;
  return failure.result;
}

uint64_t fake_counter(const char *name) {
  pthread_mutex_lock(&lock);
  uint64_t value = *counter(name);
  pthread_mutex_unlock(&lock);
  return value;
}

/// The `nth` call of that name from now on returns `result`.
void fake_fail(const char *call, int nth, unsigned result) {
  pthread_mutex_lock(&lock);
  snprintf(failure.call, sizeof failure.call, "%s", call);
  failure.left = nth;
  failure.result = (Result)result;
  pthread_mutex_unlock(&lock);
}

/// 0: streams work. 1: they stop before what is next. 2: the next copy is made halfway, and then they stop.
void fake_hold(int how) {
  pthread_mutex_lock(&lock);
  held = how == 1;
  midway = how == 2;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

/// Waits until a copy has been made halfway.
void fake_wait_midway(void) {
  pthread_mutex_lock(&lock);
  while (!held) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

static struct { CUdeviceptr at, reached; unsigned kind, is_managed; int device; } pretended;

/// What is said of the memory at `at`, whatever it is.
void fake_pretend(CUdeviceptr at, unsigned kind, int device, unsigned is_managed, CUdeviceptr reached) {
  pretended.at = at, pretended.reached = reached, pretended.kind = kind;
  pretended.is_managed = is_managed, pretended.device = device;
}

void fake_capture(CUstream stream, int is_capturing) { stream->is_capturing = is_capturing; }

static void *vmm_behind(CUdeviceptr at);
static int vmm_attribute(int attribute);

/// Which device the memory is on. -1: none.
int fake_device_of(CUdeviceptr at) {
  for (int device = 0; device < DEVICES; device++)
    if (spaces[device] && at - (uintptr_t)spaces[device] < SPACE) return device;
  return -1;
}

/// The processor's access to a device's memory, which the tests alone have.
void *fake_behind(CUdeviceptr at) {
  int device = fake_device_of(at);
  return device < 0 ? vmm_behind(at) : behinds[device] + (at - (uintptr_t)spaces[device]);
}

static int number(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text ? atoi(text) : otherwise;
}

// ---- The rules that all calls have.

static CUcontext current(void) { return depth ? stack[depth - 1] : NULL; }

/// Begins a call, with the lock held.
static Result begin(const char *symbol, int needs_context) {
  char call[64];
  snprintf(call, sizeof call, "%s", symbol);
  char *version = strstr(call, "_v2");
  if (version) *version = 0;
  pthread_mutex_lock(&lock);
  ++*counter(call), ++*counter("calls");
  if (is_in_callback) {
    ++*counter("calls_in_callbacks");
    return NOT_PERMITTED;
  }
  Result failed = failing(call);
  if (failed) return failed;
  if (!is_ready) return NOT_INITIALIZED;
  if (!needs_context) return OK;
  if (!current() || !current()->references) {
    ++*counter("calls_without_context");
    return INVALID_CONTEXT;
  }
  return current()->failed;
}

static Result end(Result result) {
  pthread_mutex_unlock(&lock);
  return result;
}

#define BEGIN(needs_context)                         \
  Result begun = begin(__func__, needs_context);     \
  if (begun) return end(begun)

static Range *find(Range *ranges, uintptr_t at, size_t len) {
  for (int i = 0; i < PLACES; i++)
    if (ranges[i].len && at >= ranges[i].start && at - ranges[i].start < ranges[i].len)
      return len <= ranges[i].len - (at - ranges[i].start) ? &ranges[i] : NULL;
  return NULL;
}

static Range *add(Range *ranges, Range range) {
  for (int i = 0; i < PLACES; i++)
    if (!ranges[i].len) { ranges[i] = range; return &ranges[i]; }
  abort();
}

static int is_mapped(const Range *range) {
  static unsigned char pages[1 << 20];
  size_t len = range->len < sizeof pages << 12 ? range->len : sizeof pages << 12;
  return !mincore((void *)(range->start / 4096 * 4096), len, pages);
}

/// Whether all of it may be written to by the processor, as /proc/self/maps says.
static int is_writable(uintptr_t start, size_t len) {
  FILE *maps = fopen("/proc/self/maps", "r");
  char line[512], access[8];
  unsigned long from, to;
  int found = 0;
  while (maps && fgets(line, sizeof line, maps))
    if (sscanf(line, "%lx-%lx %7s", &from, &to, access) == 3 && from <= start && start + len <= to)
      found = access[1] == 'w';
  if (maps) fclose(maps);
  return found;
}

// ---- The driver.

static void note_call_in_callback(void) {
  pthread_mutex_lock(&lock);
  ++*counter("calls_in_callbacks");
  pthread_mutex_unlock(&lock);
}

Result cuGetErrorName(Result error, const char **name) {
  static __thread char text[32];
  if (is_in_callback) note_call_in_callback();
  *name = NULL;
  if (error == 12345) return INVALID_VALUE;
  snprintf(text, sizeof text, "FAKE_ERROR_%d", (int)error);
  *name = text;
  return OK;
}

Result cuGetErrorString(Result error, const char **words) {
  *words = error == 12345 ? NULL : "words of the fake driver";
  return *words ? OK : INVALID_VALUE;
}

Result cuInit(unsigned flags) {
  pthread_mutex_lock(&lock);
  ++*counter("cuInit");
  int result = flags ? INVALID_VALUE : number("FAKE_CUDA_INIT", OK);
  if (!result) is_ready = 1;
  for (int device = 0; is_ready && device < DEVICES && !spaces[device]; device++) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    spaces[device] = mmap(NULL, SPACE, PROT_NONE, flags, -1, 0);
    behinds[device] = mmap(NULL, SPACE, PROT_READ | PROT_WRITE, flags, -1, 0);
    contexts[device].device = device;
    used[device] = 256;
  }
  return end((Result)result);
}

Result cuDeviceGetCount(int *count) {
  BEGIN(0);
  *count = number("FAKE_CUDA_DEVICES", DEVICES);
  return end(OK);
}

Result cuDeviceGet(CUdevice *device, int ordinal) {
  BEGIN(0);
  *device = ordinal;
  return end(ordinal < DEVICES ? OK : INVALID_DEVICE);
}

Result cuDeviceGetName(char *name, int len, CUdevice device) {
  BEGIN(0);
  snprintf(name, (size_t)len, "no GPU, a driver made for tests");
  return end(device < DEVICES ? OK : INVALID_DEVICE);
}

Result cuDeviceGetAttribute(int *value, DeviceAttribute attribute, CUdevice device) {
  BEGIN(0);
  // 113: CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED
  *value = (int)attribute == 113 ? number("FAKE_CUDA_READ_ONLY", 1) : vmm_attribute((int)attribute);
  return end(device < DEVICES ? OK : INVALID_DEVICE);
}

Result cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  BEGIN(0);
  contexts[device].references++;
  ++*counter("contexts");
  *context = &contexts[device];
  return end(OK);
}

Result cuDevicePrimaryCtxRelease(CUdevice device) {
  BEGIN(0);
  if (!contexts[device].references) return end(INVALID_CONTEXT);
  --*counter("contexts");
  if (--contexts[device].references) return end(OK);
  for (int i = 0; i < PLACES; i++) {
    int is_left = (allocations[i].len && allocations[i].device == device) ||
                  (registrations[i].len && registrations[i].device == device);
    *counter("left_at_the_end") += is_left;
  }
  return end(OK);
}

Result cuCtxPushCurrent(CUcontext context) {
  BEGIN(0);
  if (depth == 16) abort();
  stack[depth++] = context;
  return end(OK);
}

Result cuCtxPopCurrent(CUcontext *context) {
  BEGIN(0);
  if (!depth) return end(INVALID_CONTEXT);
  *context = stack[--depth];
  return end(OK);
}

Result cuCtxGetCurrent(CUcontext *context) {
  BEGIN(0);
  *context = current();
  return end(OK);
}

Result cuMemAlloc(CUdeviceptr *memory, size_t size) {
  BEGIN(1);
  int device = current()->device;
  if (!size) return end(INVALID_VALUE);
  if (size > SPACE - used[device]) return end(OUT_OF_MEMORY);
  *memory = (uintptr_t)spaces[device] + used[device];
  used[device] += (size + 511) / 256 * 256;
  add(allocations, (Range){*memory, size, device, 0});
  ++*counter("allocations");
  return end(OK);
}

Result cuMemFree(CUdeviceptr memory) {
  BEGIN(1);
  Range *range = find(allocations, memory, 1);
  if (!range || range->start != memory) return end(INVALID_VALUE);
  memset(fake_behind(memory), 0xdd, range->len);
  range->len = 0;
  --*counter("allocations");
  return end(OK);
}

Result cuMemHostRegister(void *memory, size_t len, unsigned flags) {
  BEGIN(1);
  uintptr_t start = (uintptr_t)memory;
  if (!len || !(flags & 1)) return end(INVALID_VALUE); // CU_MEMHOSTREGISTER_PORTABLE
  if (flags & 8 && !number("FAKE_CUDA_READ_ONLY", 1)) return end(NOT_SUPPORTED);
  if (!(flags & 8) && !is_writable(start, len)) return end(INVALID_VALUE);
  for (int i = 0; i < PLACES; i++)
    if (registrations[i].len && start < registrations[i].start + registrations[i].len && registrations[i].start < start + len)
      return end(ALREADY_REGISTERED);
  add(registrations, (Range){start, len, current()->device, flags});
  ++*counter("registrations");
  return end(OK);
}

Result cuMemHostUnregister(void *memory) {
  BEGIN(1);
  Range *range = find(registrations, (uintptr_t)memory, 1);
  if (!range || range->start != (uintptr_t)memory) return end(NOT_REGISTERED);
  if (!is_mapped(range)) ++*counter("unmapped_while_registered");
  range->len = 0;
  --*counter("registrations");
  return end(OK);
}

Result cuPointerGetAttributes(unsigned count, PointerAttribute *attributes, void **values, CUdeviceptr at) {
  BEGIN(1);
  Range *device = find(allocations, at, 1), *host = find(registrations, at, 1), *found = device ? device : host;
  int is_pretended = at && at == pretended.at;
  unsigned kind = is_pretended ? pretended.kind : device ? 2 : host ? 1 : 0;
  for (unsigned i = 0; i < count; i++) switch ((int)attributes[i]) {
    case 2: *(unsigned *)values[i] = kind; break; // CU_POINTER_ATTRIBUTE_MEMORY_TYPE
    case 3: *(CUdeviceptr *)values[i] = is_pretended ? pretended.reached : found ? at : 0; break; // .._DEVICE_POINTER
    case 8: *(unsigned *)values[i] = is_pretended && pretended.is_managed; break; // .._IS_MANAGED
    case 9: *(int *)values[i] = is_pretended ? pretended.device : found ? found->device : -2; break; // .._DEVICE_ORDINAL
    default: return end(INVALID_VALUE);
    }
  return end(OK);
}

// ---- Streams.

/// Where the processor finds the bytes: a device's memory, or memory of the process.
static char *reach(CUdeviceptr at) {
  char *behind = fake_behind(at);
  return behind ? behind : (char *)(uintptr_t)at;
}

/// Makes a copy, with the lock held, but for while it is held up in the middle.
static Result copy(CUdeviceptr to, CUdeviceptr from, size_t len, const void *staged) {
  Result failed = failing("copy");
  if (failed) return failed;
  Range *written = find(registrations, to, 1);
  if (!written) written = find(allocations, to, 1);
  if (written && written->flags & 8) return ILLEGAL_ADDRESS; // registered or mapped to be read only
  if (fake_behind(to) && !find(allocations, to, len)) return ILLEGAL_ADDRESS;
  if (fake_behind(from) && !find(allocations, from, len)) return ILLEGAL_ADDRESS;
  const char *source = staged ? staged : reach(from);
  size_t half = midway ? len / 2 : 0;
  memcpy(reach(to), source, half);
  if (midway) midway = 0, held = 1;
  pthread_cond_broadcast(&changed);
  while (held) pthread_cond_wait(&changed, &lock);
  memcpy(reach(to) + half, source + half, len - half);
  ++*counter("copies_made");
  return OK;
}

/// What tests/gpu/kernels.ptx says.
static void run_kernel(const Work *work) {
  uint32_t *words = (uint32_t *)reach(work->to), *wrong = (uint32_t *)reach(work->wrong);
  int is_fill = !strcmp((const char *)work->kernel, "fill");
  for (uint32_t i = 0; i < work->len; i++) {
    uint32_t word = work->seed ^ i * 2654435761u;
    if (is_fill) words[i] = word;
    else *wrong += words[i] != word;
  }
}

static void *run(void *argument) {
  CUstream stream = argument;
  pthread_mutex_lock(&lock);
  for (;;) {
    while ((held || !stream->first) && !(stream->is_ending && !stream->first)) pthread_cond_wait(&changed, &lock);
    Work *work = stream->first;
    if (!work) break;
    stream->first = work->next;
    if (!stream->first) stream->last = &stream->first;
    stream->is_busy = 1;
    if (work->callback) {
      Result status = stream->context->failed;
      pthread_mutex_unlock(&lock);
      is_in_callback = 1;
      work->callback(stream, status, work->data);
      is_in_callback = 0;
      pthread_mutex_lock(&lock);
    } else if (work->kernel) {
      run_kernel(work);
    } else if (!stream->context->failed) {
      stream->context->failed = copy(work->to, work->from, work->len, work->staged);
    }
    free(work->staged);
    free(work);
    stream->is_busy = 0;
    pthread_cond_broadcast(&changed);
  }
  pthread_mutex_unlock(&lock);
  return NULL;
}

static CUstream make_stream(void) {
  CUstream stream = calloc(1, sizeof *stream);
  stream->context = current();
  stream->last = &stream->first;
  pthread_create(&stream->thread, NULL, run, stream);
  return stream;
}

/// What the call means by it: the default stream of the context has no name.
static CUstream named(CUstream stream) {
  if (stream) return stream;
  int device = current()->device;
  if (!defaults[device]) defaults[device] = make_stream();
  return defaults[device];
}

static void put(CUstream stream, Work work) {
  *stream->last = memcpy(malloc(sizeof work), &work, sizeof work);
  stream->last = &(*stream->last)->next;
  pthread_cond_broadcast(&changed);
}

static Result wait_for(CUstream stream) {
  while (stream->first || stream->is_busy) pthread_cond_wait(&changed, &lock);
  return stream->context->failed;
}

Result cuStreamCreate(CUstream *stream, unsigned flags) {
  BEGIN(1);
  if (flags > 1) return end(INVALID_VALUE);
  *stream = make_stream();
  ++*counter("streams");
  return end(OK);
}

Result cuStreamDestroy(CUstream stream) {
  BEGIN(1);
  stream->is_ending = 1;
  --*counter("streams");
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  pthread_join(stream->thread, NULL);
  free(stream);
  return OK;
}

Result cuStreamSynchronize(CUstream stream) {
  Result begun = begin(__func__, 1);
  // Also when it is to fail: no copy goes on after it in the real one.
  Result failed = current() ? wait_for(named(stream)) : OK;
  return end(begun ? begun : failed);
}

// As the caller's thread has it: captures that others have under way are broken by what isn't done RELAXED.
static _Thread_local int capture_mode;

Result cuThreadExchangeStreamCaptureMode(CaptureMode *mode) {
  BEGIN(0);
  int before = capture_mode;
  capture_mode = (int)*mode;
  *mode = (CaptureMode)before;
  return end(OK);
}

Result cuStreamIsCapturing(CUstream stream, CaptureStatus *status) {
  BEGIN(1);
  *status = (CaptureStatus)named(stream)->is_capturing;
  return end(OK);
}

Result cuStreamAddCallback(CUstream stream, CUstreamCallback callback, void *data, unsigned flags) {
  BEGIN(1);
  stream = named(stream);
  if (flags || stream->is_capturing) return end(flags ? INVALID_VALUE : CAPTURE_UNSUPPORTED);
  put(stream, (Work){.callback = callback, .data = data});
  return end(OK);
}

/// As the real one: of pageable memory the bytes are taken at once, and to pageable memory the call waits for the copy.
Result cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t len, CUstream stream) {
  BEGIN(1);
  stream = named(stream);
  if (stream->context != current()) return end(INVALID_HANDLE);
  if (stream->is_capturing) ++*counter("captured_copies");
  Work work = {.to = to, .from = from, .len = len};
  int is_from_pageable = !find(allocations, from, len) && !find(registrations, from, len);
  int is_to_pageable = !find(allocations, to, len) && !find(registrations, to, len);
  ++*counter(is_from_pageable || is_to_pageable ? "pageable_copies" : "direct_copies");
  if (is_from_pageable) work.staged = memcpy(malloc(len), reach(from), len);
  put(stream, work);
  return end(is_to_pageable ? wait_for(stream) : OK);
}

// ---- What only tests/gpu calls.

Result cuMemGetInfo(size_t *free, size_t *total) {
  BEGIN(1);
  *free = *total = SPACE;
  for (int i = 0; i < PLACES; i++) *free -= allocations[i].device == current()->device ? allocations[i].len : 0;
  return end(OK);
}

Result cuMemsetD8(CUdeviceptr memory, unsigned char value, size_t len) {
  BEGIN(1);
  if (!find(allocations, memory, len)) return end(INVALID_VALUE);
  memset(fake_behind(memory), value, len);
  return end(OK);
}

Result cuMemcpyDtoH(void *to, CUdeviceptr from, size_t len) {
  BEGIN(1);
  if (!find(allocations, from, len)) return end(INVALID_VALUE);
  memcpy(to, fake_behind(from), len);
  return end(OK);
}

Result cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t len) {
  BEGIN(1);
  if (!find(allocations, to, len)) return end(INVALID_VALUE);
  memcpy(fake_behind(to), from, len);
  return end(OK);
}

Result cuPointerGetAttribute(void *value, PointerAttribute attribute, CUdeviceptr at) {
  Result result = cuPointerGetAttributes(1, &attribute, &value, at);
  return result || *(unsigned *)value ? result : INVALID_VALUE;
}

Result cuModuleLoadData(CUmodule *module, const void *image) {
  BEGIN(1);
  *module = (CUmodule)image;
  return end(OK);
}

Result cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  BEGIN(1);
  int is_there = strstr((const char *)module, name) && (!strcmp(name, "fill") || !strcmp(name, "check"));
  *function = (CUfunction)name;
  return end(is_there ? OK : INVALID_VALUE);
}

Result cuLaunchKernel(CUfunction function, unsigned blocks, unsigned y, unsigned z, unsigned threads, unsigned ty,
                      unsigned tz, unsigned shared, CUstream stream, void **arguments, void **extra) {
  BEGIN(1);
  Work work = {.kernel = function, .to = *(CUdeviceptr *)arguments[0], .len = *(unsigned *)arguments[1],
               .seed = *(unsigned *)arguments[2], .wrong = *(CUdeviceptr *)arguments[3]};
  if (y * z * ty * tz != 1 || shared || extra || (size_t)blocks * threads < work.len) return end(INVALID_VALUE);
  put(named(stream), work);
  return end(OK);
}
#include "fake_vmm.c"
