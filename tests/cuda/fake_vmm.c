// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of the fake driver that maps memory which other processes have, too; included by `fake_driver.c`.
//!
//! - Memory is a memfd, so that it goes from process to process, and lives until nobody has it, as the real one does. Its name says whose it is.
//! - Addresses are reserved where nobody may touch them, and what is mapped there is reached by copies and through `fake_behind` only.
//! - Counted: what is there (`vmm_memories`, `vmm_reservations`, `vmm_mappings`). Access that isn't allowed is an illegal address.

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/stat.h>

#ifndef __cuda_cuda_h__
typedef unsigned long long CUmemGenericAllocationHandle;
typedef int CUmemAllocationHandleType, CUmemAllocationGranularity_flags;
typedef struct { int type, id; } CUmemLocation;
typedef struct {
  int type, requestedHandleTypes;
  CUmemLocation location;
  void *win32HandleMetaData;
  struct { unsigned char compressionType, gpuDirectRDMACapable; unsigned short usage; unsigned char reserved[4]; } allocFlags;
} CUmemAllocationProp;
typedef struct { CUmemLocation location; int flags; } CUmemAccessDesc;
typedef struct { char bytes[16]; } CUuuid;
#define cuMemHostGetDevicePointer cuMemHostGetDevicePointer_v2
#endif

#define STEP ((size_t)2 << 20)
// No more than valgrind can have twice, beside the devices' own.
#define VMM_SPACE ((size_t)1 << 34)
#define READ_ONLY 8u

typedef struct { int descriptor, device; size_t size; int references; } Memory;

static Memory memories[PLACES];
static Range reservations[PLACES], mappings[PLACES];
static Memory *mapped_memory[PLACES];
static char *vmm_space, *vmm_behinds;
static size_t vmm_used;

static void *vmm_behind(CUdeviceptr at) {
  return vmm_space && at - (uintptr_t)vmm_space < VMM_SPACE ? vmm_behinds + (at - (uintptr_t)vmm_space) : NULL;
}

static int vmm_attribute(int attribute) {
  switch (attribute) {
  case 91: return number("FAKE_CUDA_SAME_ADDRESSES", 1);
  case 102: return 1;
  case 103: return number("FAKE_CUDA_EXPORTS", 1);
  default: return 0;
  }
}

static Memory *memory_of(CUmemGenericAllocationHandle handle) {
  return handle && handle <= PLACES && memories[handle - 1].references ? &memories[handle - 1] : NULL;
}

static CUmemGenericAllocationHandle keep(Memory memory) {
  for (int i = 0; i < PLACES; i++)
    if (!memories[i].references) {
      memories[i] = memory;
      memories[i].references = 1;
      ++*counter("vmm_memories");
      return (CUmemGenericAllocationHandle)i + 1;
    }
  abort();
}

static void let_go(Memory *memory) {
  if (--memory->references) return;
  close(memory->descriptor);
  --*counter("vmm_memories");
}

Result cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
  BEGIN(0);
  memset(uuid, 0, sizeof *uuid);
  memcpy(uuid, "fake", 4);
  uuid->bytes[15] = (char)(device + number("FAKE_CUDA_FIRST_DEVICE", 0));
  return end(device < DEVICES ? OK : INVALID_DEVICE);
}

Result cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer) {
  BEGIN(0);
  *can = device != peer && number("FAKE_CUDA_PEERS", 1);
  return end(OK);
}

static int is_exportable(const CUmemAllocationProp *properties) {
  return (int)properties->type == 1 && (int)properties->location.type == 1 && properties->location.id >= 0 &&
         properties->location.id < DEVICES && (int)properties->requestedHandleTypes == 1 && !properties->win32HandleMetaData;
}

Result cuMemGetAllocationGranularity(size_t *step, const CUmemAllocationProp *properties, CUmemAllocationGranularity_flags which) {
  BEGIN(0);
  *step = STEP;
  return end(is_exportable(properties) && !which ? OK : INVALID_VALUE);
}

Result cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *properties, unsigned long long flags) {
  BEGIN(0);
  if (!size || size % STEP || flags || !is_exportable(properties)) return end(INVALID_VALUE);
  char name[32];
  snprintf(name, sizeof name, "fake-vmm-%d", properties->location.id + number("FAKE_CUDA_FIRST_DEVICE", 0));
  int descriptor = memfd_create(name, MFD_CLOEXEC);
  if (descriptor < 0 || ftruncate(descriptor, (off_t)size)) return end(OUT_OF_MEMORY);
  *handle = keep((Memory){descriptor, properties->location.id, size, 0});
  return end(OK);
}

Result cuMemRelease(CUmemGenericAllocationHandle handle) {
  BEGIN(0);
  Memory *memory = memory_of(handle);
  if (!memory) return end(INVALID_VALUE);
  let_go(memory);
  return end(OK);
}

Result cuMemExportToShareableHandle(void *place, CUmemGenericAllocationHandle handle, CUmemAllocationHandleType type, unsigned long long flags) {
  BEGIN(0);
  Memory *memory = memory_of(handle);
  if (!memory || (int)type != 1 || flags) return end(INVALID_VALUE);
  *(int *)place = fcntl(memory->descriptor, F_DUPFD_CLOEXEC, 0);
  return end(*(int *)place < 0 ? OUT_OF_MEMORY : OK);
}

Result cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *number_of, CUmemAllocationHandleType type) {
  BEGIN(0);
  char link[64], name[64] = "";
  int descriptor = (int)(uintptr_t)number_of, device;
  struct stat stat;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  if (readlink(link, name, sizeof name - 1) < 0 || (int)type != 1 || fstat(descriptor, &stat)) return end(INVALID_VALUE);
  if (sscanf(name, "/memfd:fake-vmm-%d", &device) != 1) return end(INVALID_VALUE);
  device -= number("FAKE_CUDA_FIRST_DEVICE", 0);
  if (device < 0 || device >= DEVICES) return end(INVALID_DEVICE);
  descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  *handle = keep((Memory){descriptor, device, (size_t)stat.st_size, 0});
  return end(OK);
}

Result cuMemAddressReserve(CUdeviceptr *start, size_t size, size_t alignment, CUdeviceptr wanted, unsigned long long flags) {
  BEGIN(0);
  if (!size || size % STEP || alignment || wanted || flags) return end(INVALID_VALUE);
  if (!vmm_space) {
    int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    vmm_space = mmap(NULL, VMM_SPACE, PROT_NONE, how, -1, 0);
    vmm_behinds = mmap(NULL, VMM_SPACE, PROT_NONE, how, -1, 0);
  }
  if (size > VMM_SPACE - vmm_used) return end(OUT_OF_MEMORY);
  *start = (uintptr_t)vmm_space + vmm_used;
  vmm_used += size + STEP;
  add(reservations, (Range){*start, size, 0, 0});
  ++*counter("vmm_reservations");
  return end(OK);
}

Result cuMemAddressFree(CUdeviceptr start, size_t size) {
  BEGIN(0);
  Range *range = find(reservations, start, size);
  if (!range || range->start != start || range->len != size || find(mappings, start, 1)) return end(INVALID_VALUE);
  range->len = 0;
  --*counter("vmm_reservations");
  return end(OK);
}

Result cuMemMap(CUdeviceptr start, size_t size, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags) {
  BEGIN(0);
  Memory *memory = memory_of(handle);
  if (!memory || offset || flags || size % STEP || size > memory->size || !find(reservations, start, size) || find(mappings, start, 1))
    return end(INVALID_VALUE);
  mmap(vmm_behind(start), size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory->descriptor, 0);
  memory->references++;
  mapped_memory[add(mappings, (Range){start, size, memory->device, 0}) - mappings] = memory;
  ++*counter("vmm_mappings");
  return end(OK);
}

Result cuMemUnmap(CUdeviceptr start, size_t size) {
  BEGIN(0);
  Range *range = find(mappings, start, size), *allowed = find(allocations, start, size);
  if (!range || range->start != start || range->len != size) return end(INVALID_VALUE);
  mmap(vmm_behind(start), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  let_go(mapped_memory[range - mappings]);
  range->len = 0;
  if (allowed) allowed->len = 0;
  --*counter("vmm_mappings");
  return end(OK);
}

Result cuMemSetAccess(CUdeviceptr start, size_t size, const CUmemAccessDesc *access, size_t count) {
  BEGIN(0);
  Range *range = find(mappings, start, size);
  if (!range || count != 1 || (int)access->location.type != 1) return end(INVALID_VALUE);
  int flags = (int)access->flags, device = access->location.id;
  if (flags == 1 && !number("FAKE_CUDA_READ_ACCESS", 1)) return end(NOT_SUPPORTED);
  if (flags != 1 && flags != 3) return end(INVALID_VALUE);
  if (device != range->device && !number("FAKE_CUDA_PEERS", 1)) return end(INVALID_DEVICE);
  Range *allowed = find(allocations, start, size);
  if (!allowed) allowed = add(allocations, (Range){start, size, device, 0});
  allowed->flags = flags == 1 ? READ_ONLY : 0;
  return end(OK);
}

Result cuMemHostGetDevicePointer(CUdeviceptr *device, void *host, unsigned flags) {
  BEGIN(1);
  *device = (uintptr_t)host;
  return end(!flags && find(registrations, (uintptr_t)host, 1) ? OK : INVALID_VALUE);
}
