/* SPDX-License-Identifier: Apache-2.0 */
/* Letting go of the program file, or running from a sealed copy of it; see exe.h. */
#include "sandbox/exe.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <linux/prctl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/syscalls.h"

#define SEALS        (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define SEGMENTS_MAX 16

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* Builds for testing only, in which the mapped program is not what the kernel runs, or may not be moved. */
static bool is_instrumented(void)
{
#if defined(HULL_SANITIZE) || defined(HULL_VALGRIND)
	return true;
#else
	return false;
#endif
}

static bool kernel_can_hide(void)
{
	unsigned size = 0;

	return prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) == 0 &&
	       size == sizeof(struct prctl_mm_map);
}

static int make_memfd(struct error *err)
{
	int fd = memfd_create("hull", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	if (fd < 0 &&
	    errno == EINVAL) /* before Linux 6.3 there was no MFD_EXEC, and all could be executed */
		fd = memfd_create("hull", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return error_errno(err, errno, "memfd_create");
	return fd;
}

static bool is_sealed_copy(int exe)
{
	int seals = fcntl(exe, F_GET_SEALS);

	return seals >= 0 && (seals & SEALS) == SEALS;
}

int exe_ensure(char **argv, struct error *err)
{
	_cleanup_close_ int exe = -EBADF, copy = -EBADF;
	struct stat st;
	off_t done = 0;

	if (is_instrumented() || kernel_can_hide())
		return 0;
	exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (exe < 0 || fstat(exe, &st) < 0)
		return error_errno(err, errno, "open our own program");
	if (is_sealed_copy(exe))
		return 0;
	copy = make_memfd(err);
	if (copy < 0)
		return copy;
	while (done < st.st_size)
		if (sendfile(copy, exe, &done, (size_t)(st.st_size - done)) <= 0)
			return error_errno(err, errno, "copy our own program");
	if (fcntl(copy, F_ADD_SEALS, SEALS) < 0)
		return error_errno(err, errno, "seal the copy of our own program");
	fexecve(copy, argv, environ);
	return error_errno(err, errno, "execute the sealed copy of our own program");
}

/* ---- letting go -------------------------------------------------------------------------------- */

struct segment {
	uintptr_t start, end; /* the file-backed pages */
	off_t offset;         /* of start in the file */
	int prot;
};

struct program {
	struct segment segments[SEGMENTS_MAX];
	size_t count;
	uintptr_t text_start, text_end, data_start, data_end;
	struct segment relro;
};

static int segment_prot(uint32_t flags)
{
	return ((flags & PF_R) ? PROT_READ : 0) | ((flags & PF_W) ? PROT_WRITE : 0) |
	       ((flags & PF_X) ? PROT_EXEC : 0);
}

/* The first entry of dl_iterate_phdr(3) is the program; static programs have no other. */
static int collect_segments(struct dl_phdr_info *info, size_t size _unused_, void *data)
{
	const uintptr_t page = 4096;
	struct program *p = data;

	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t start = (info->dlpi_addr + ph->p_vaddr) & ~(page - 1);
		uintptr_t file_end =
			(info->dlpi_addr + ph->p_vaddr + ph->p_filesz + page - 1) & ~(page - 1);

		if (ph->p_type == PT_GNU_RELRO) {
			p->relro.start = start;
			p->relro.end = (info->dlpi_addr + ph->p_vaddr + ph->p_memsz) & ~(page - 1);
		}
		if (ph->p_type != PT_LOAD)
			continue;
		if (p->count == SEGMENTS_MAX)
			return -1;
		p->segments[p->count++] = (struct segment){
			.start = start,
			.end = file_end,
			.offset = (off_t)(ph->p_offset & ~(page - 1)),
			.prot = segment_prot(ph->p_flags),
		};
		if (ph->p_flags & PF_X) {
			p->text_start = start;
			p->text_end = file_end;
		} else if (ph->p_flags & PF_W) {
			p->data_start = start;
			p->data_end = file_end;
		}
	}
	return 1;
}

int exe_open_detached(void)
{
	_cleanup_close_ int tree = -EBADF;
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

	if (is_instrumented())
		return -1;
	tree = open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -1;
	/* Opened for mapping; the mount itself is dissolved when tree is closed, and lives on in this file only. */
	return open(path_of_fd(tree).s, O_RDONLY | O_CLOEXEC);
}

/*
 * Replaces one segment by an anonymous copy. mremap(2) puts the copy in place in one step: code that
 * runs in the very pages, as this function's, goes on in the same bytes.
 */
static int replace_by_copy(const struct segment *s)
{
	size_t len = s->end - s->start;
	void *copy = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (copy == MAP_FAILED)
		return -errno;
	memcpy(copy, (const void *)s->start, len);
	if (s->prot != (PROT_READ | PROT_WRITE) && mprotect(copy, len, s->prot) < 0)
		return -errno;
	if (mremap(copy, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)s->start) == MAP_FAILED)
		return -errno;
	return 0;
}

/* What cannot have been written to is mapped anew from the file: nothing is copied. */
static int replace_segment(const struct segment *s, int file)
{
	if (file < 0 || (s->prot & PROT_WRITE))
		return replace_by_copy(s);
	if (mmap((void *)s->start, s->end - s->start, s->prot, MAP_PRIVATE | MAP_FIXED, file,
		 s->offset) == MAP_FAILED)
		return -errno;
	return 0;
}

static int replace_segments(const struct program *p, int file, struct error *err)
{
	for (size_t i = 0; i < p->count; i++) {
		int r = replace_segment(&p->segments[i], file);

		if (r < 0)
			return error_errno(err, -r, "replace our own program in memory");
	}
	if (p->relro.end > p->relro.start &&
	    mprotect((void *)p->relro.start, p->relro.end - p->relro.start, PROT_READ) < 0)
		return error_errno(err, errno, "protect our own data");
	return 0;
}

static int set_exe(const struct program *p, int fd, struct error *err)
{
	uintptr_t brk = (uintptr_t)sbrk(0);
	uintptr_t stack = (uintptr_t)__builtin_frame_address(0);
	struct prctl_mm_map map = {
		.start_code = p->text_start,
		.end_code = p->text_end,
		.start_data = p->data_start,
		.end_data = p->data_end,
		.start_brk = brk,
		.brk = brk,
		.start_stack = stack,
		.arg_start = stack,
		.arg_end = stack,
		.env_start = stack,
		.env_end = stack,
		.exe_fd = (uint32_t)fd,
	};

	if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0) < 0)
		return error_errno(err, errno, "let go of our own program (PR_SET_MM_MAP)");
	return 0;
}

int exe_hide(int detached, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	struct program program = { 0 };
	int r;

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_errno(err, errno, "become undumpable");
	if (is_instrumented() || !kernel_can_hide())
		return 0; /* exe_ensure() made us a sealed copy, or this is no build for use */
	if (dl_iterate_phdr(collect_segments, &program) < 0 || !program.count)
		return error_set(err, ENOEXEC, "our own program has an unknown layout");
	fd = make_memfd(err);
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return error_errno(err, errno, "seal an empty file");
	r = replace_segments(&program, detached, err);
	return r < 0 ? r : set_exe(&program, fd, err);
}
