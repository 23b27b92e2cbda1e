/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory; see guest_memory.h. Each region lies in address space of its own with an inaccessible page before and
 * after it: what runs over its end, though everything is checked, faults instead of reaching the monitor's own memory.
 */
#include "microvm/guest_memory.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif

#define SIZE_MAX_BYTES (UINT64_C(1) << 46) /* fits the address space of every host */
#define SIZE_SEALS     (F_SEAL_SHRINK | F_SEAL_GROW)
#define HUGE_PAGE      (UINT64_C(2) << 20)
#define LOAD_MAX       (UINT64_C(1) << 30) /* bytes a system call */

/* ---- mapping ------------------------------------------------------------------------------ */

/*
 * A huge page can only be one to all who map it where its address is a multiple of its size in each: in the guest, in the
 * memfd, and here.
 */
static int map_region(struct guest_region *region, int fd, struct error *err)
{
	size_t reserve = region->size + HUGE_PAGE + GUEST_PAGE_SIZE;
	uintptr_t start;
	void *reserved, *host;

	reserved =
		mmap(NULL, reserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserved == MAP_FAILED)
		return error_errno(err, errno, "find address space for the guest's memory");
	region->reserved = reserved;
	region->reserved_size = reserve;
	start = ((uintptr_t)reserved + GUEST_PAGE_SIZE + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	host = mmap((void *)start, region->size, PROT_READ | PROT_WRITE,
		    MAP_NORESERVE | MAP_FIXED | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED),
		    fd, (off_t)region->offset);
	if (host == MAP_FAILED)
		return error_errno(err, errno, "map the guest's memory");
	region->host = host;
	/* A core dump of the monitor is not the place for the guest's secrets. */
	madvise(host, region->size, MADV_DONTDUMP);
	return 0;
}

static int map_all(struct guest_memory *memory, struct error *err)
{
	uint64_t low = memory->size < GUEST_HOLE_START ? memory->size : GUEST_HOLE_START;
	int r = 0;

	memory->regions[0] = (struct guest_region){ .size = low };
	memory->region_count = 1;
	if (memory->size > low) {
		memory->regions[1] = (struct guest_region){
			.gpa = GUEST_HOLE_END,
			.size = memory->size - low,
			.offset = low,
		};
		memory->region_count = 2;
	}
	for (unsigned i = 0; r == 0 && i < memory->region_count; i++)
		r = map_region(&memory->regions[i], memory->fd, err);
	return r;
}

static int check_size(uint64_t size, struct error *err)
{
	if (!size || size % GUEST_PAGE_SIZE || size > SIZE_MAX_BYTES)
		return error_set(err, EINVAL, "the guest cannot have %llu bytes of memory",
				 (unsigned long long)size);
	return 0;
}

static int make_memfd(void)
{
	/* A kernel before 6.3 does not know the last flag. */
	int fd = memfd_create("guest memory", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("guest memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

int guest_memory_create(struct guest_memory *memory, uint64_t size, struct error *err)
{
	int r;

	*memory = (struct guest_memory){ .fd = -EBADF, .size = size };
	r = check_size(size, err);
	if (r < 0)
		return r;
	memory->fd = make_memfd();
	if (memory->fd < 0)
		r = error_errno(err, errno, "make the guest's memory");
	else if (ftruncate(memory->fd, (off_t)size) < 0)
		r = error_errno(err, errno, "give the guest %llu MiB of memory",
				(unsigned long long)size >> 20);
	/* Who could shrink it would have us killed by SIGBUS. */
	else if (fcntl(memory->fd, F_ADD_SEALS, SIZE_SEALS | F_SEAL_SEAL) < 0)
		r = error_errno(err, errno, "seal the guest's memory");
	else
		r = map_all(memory, err);
	if (r < 0)
		guest_memory_free(memory);
	return r;
}

int guest_memory_create_private(struct guest_memory *memory, uint64_t size, struct error *err)
{
	int r;

	*memory = (struct guest_memory){ .fd = -EBADF, .size = size };
	r = check_size(size, err);
	if (r == 0)
		r = map_all(memory, err);
	if (r < 0)
		guest_memory_free(memory);
	return r;
}

int guest_memory_map(const struct guest_memory *memory, uint64_t gpa, int fd, uint64_t offset,
		     uint64_t len, struct error *err)
{
	void *at = guest_memory_at(memory, gpa, len);

	if (!at || gpa % GUEST_PAGE_SIZE || len % GUEST_PAGE_SIZE || memory->fd >= 0)
		return error_set(err, EFAULT, "%llu bytes at %#llx are not all memory of the guest",
				 (unsigned long long)len, (unsigned long long)gpa);
	if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd,
		 (off_t)offset) == MAP_FAILED)
		return error_errno(err, errno, "map the guest's memory");
	madvise(at, len, MADV_DONTDUMP);
	return 0;
}

/* The size of a memfd that nobody can shrink under us; negative: none. */
static int64_t sealed_size(int fd, struct error *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "open the guest's memory");
	if ((seals & SIZE_SEALS) != SIZE_SEALS)
		return error_set(err, EINVAL,
				 "the guest's memory is not sealed against change of its size");
	return st.st_size;
}

int guest_memory_open(struct guest_memory *memory, int fd, struct error *err)
{
	int64_t size = sealed_size(fd, err);
	int r = size < 0 ? (int)size : check_size((uint64_t)size, err);

	*memory = (struct guest_memory){ .fd = fd };
	if (r == 0) {
		memory->size = (uint64_t)size;
		r = map_all(memory, err);
	}
	if (r < 0)
		guest_memory_free(memory);
	return r;
}

void guest_memory_free(struct guest_memory *memory)
{
	for (unsigned i = 0; i < memory->region_count; i++)
		if (memory->regions[i].reserved)
			munmap(memory->regions[i].reserved, memory->regions[i].reserved_size);
	close_fd(&memory->fd);
	guest_memory_untrack(memory);
	memory->region_count = 0;
}

/* ---- access ------------------------------------------------------------------------------- */

/* The region that has all of the range, with at least one byte. */
static const struct guest_region *find_region(const struct guest_memory *memory, uint64_t gpa,
					      uint64_t len)
{
	for (unsigned i = 0; i < memory->region_count; i++) {
		const struct guest_region *region = &memory->regions[i];

		if (gpa >= region->gpa && gpa - region->gpa < region->size)
			return len && len <= region->size - (gpa - region->gpa) ? region : NULL;
	}
	return NULL;
}

void *guest_memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t len)
{
	const struct guest_region *region = find_region(memory, gpa, len);

	return region ? region->host + (gpa - region->gpa) : NULL;
}

bool guest_memory_read(const struct guest_memory *memory, uint64_t gpa, void *to, size_t len)
{
	const void *from = guest_memory_at(memory, gpa, len);

	if (!from)
		return false;
	memcpy(to, from, len);
	return true;
}

bool guest_memory_write(const struct guest_memory *memory, uint64_t gpa, const void *from,
			size_t len)
{
	void *to = guest_memory_at(memory, gpa, len);

	if (!to)
		return false;
	memcpy(to, from, len);
	guest_memory_wrote(memory, to, len);
	return true;
}

/* ---- loading ------------------------------------------------------------------------------ */

/* The plain way, where the file's system cannot splice(2). */
static ssize_t read_some(const struct guest_memory *memory, uint64_t gpa, int fd, uint64_t offset,
			 uint64_t len)
{
	return pread(fd, guest_memory_at(memory, gpa, len), len, (off_t)offset);
}

int guest_memory_load(const struct guest_memory *memory, uint64_t gpa, int fd, uint64_t offset,
		      uint64_t len, struct error *err)
{
	const struct guest_region *region = find_region(memory, gpa, len);
	bool splice = true;

	if (!region)
		return error_set(err, EFAULT, "%llu bytes at %#llx are not all memory of the guest",
				 (unsigned long long)len, (unsigned long long)gpa);
	if (lseek(memory->fd, (off_t)(region->offset + (gpa - region->gpa)), SEEK_SET) < 0)
		return error_errno(err, errno, "seek in the guest's memory");
	while (len) {
		size_t some = len < LOAD_MAX ? len : LOAD_MAX;
		off_t from = (off_t)offset;
		ssize_t n = splice ? sendfile(memory->fd, fd, &from, some)
				   : read_some(memory, gpa, fd, offset, some);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && splice && (errno == EINVAL || errno == ENOSYS)) {
			splice = false;
			continue;
		}
		if (n < 0)
			return error_errno(err, errno, "read %llu bytes at %llu",
					   (unsigned long long)len, (unsigned long long)offset);
		if (n == 0)
			return error_set(err, ENODATA, "the file ends at %llu, %llu bytes early",
					 (unsigned long long)offset, (unsigned long long)len);
		gpa += (uint64_t)n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}
