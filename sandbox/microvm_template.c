/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates: a machine whose hull-guest is up, and which has seen nothing of a workload yet, is the same for all workloads that want one of
 * its size. The first such machine writes itself to a file (microvm/snapshot.h), and the next ones go on from that instead of booting.
 *
 * The file's name says what it depends on: size, kernel, initramfs, hull-vmm, processor, host. It is made without a name, which it gets when it is whole;
 * only machines with hull's own kernel make one or use one. Nothing here is an error: without a template a machine boots.
 */
#include <cpuid.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/path.h"
#include "microvm/snapshot.h"
#include "sandbox/microvm.h"

#define CACHE         "/var/cache/hull"
#define TEMPLATES     CACHE "/templates"
#define TEMPLATES_MAX 8 /* the ones that were used last stay */
#define MEMORY_MAX \
	2048 /* MiB: of a large machine the list of pages alone is much to write and to keep */

/* ---- the name ----------------------------------------------------------------------------------------- */

static uint64_t add_file(uint64_t hash, int fd)
{
	struct stat st = { 0 };
	char facts[160];

	fstat(fd, &st);
	snprintf(facts, sizeof(facts), "%llu %llu %llu %lld.%09ld %lld",
		 (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
		 (unsigned long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
		 (long long)st.st_ctim.tv_sec);
	return hash_add(hash, facts, strlen(facts));
}

/* What programs of the guest may have made of it: features, not what differs from core to core. */
static uint64_t add_processor(uint64_t hash)
{
	static const unsigned leaves[] = { 0, 1, 7, 0xd, 0x80000001, 0x80000008 };

	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++) {
		unsigned words[4] = { 0 };

		__get_cpuid_count(leaves[i], 0, &words[0], &words[1], &words[2], &words[3]);
		if (leaves[i] == 1)
			words[1] = 0; /* the id of the core that we run on */
		hash = hash_add(hash, words, sizeof(words));
	}
	return hash;
}

static uint64_t add_host(uint64_t hash)
{
	struct utsname host = { 0 };

	uname(&host);
	hash = hash_add(hash, host.release, strlen(host.release));
	return hash_add(hash, host.version, strlen(host.version));
}

static void make_name(struct microvm_template *t, const struct microvm_plan *plan, int kernel,
		      int initrd)
{
	const struct microvm_machine *m = &plan->machine;
	uint64_t hash = hash_add(HASH_START, m->cmdline, strlen(m->cmdline));

	hash = add_file(hash, kernel);
	hash = add_file(hash, initrd);
	hash = add_file(hash, plan->program);
	hash = add_host(add_processor(hash));
	snprintf(t->name, sizeof(t->name), "%llum-%uc-%un-%016llx",
		 (unsigned long long)m->memory_mib, m->cpus, plan->cards, (unsigned long long)hash);
}

/* ---- the directory ------------------------------------------------------------------------------------ */

static bool is_ours(int fd, mode_t type)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type && st.st_uid == geteuid() &&
	       !(st.st_mode & (S_IWGRP | S_IWOTH));
}

static int open_templates(void)
{
	int dir;

	if ((mkdir(CACHE, 0755) < 0 && errno != EEXIST) ||
	    (mkdir(TEMPLATES, 0700) < 0 && errno != EEXIST))
		return -1;
	dir = open(TEMPLATES, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0 && !is_ours(dir, S_IFDIR))
		close_fd(&dir);
	return dir;
}

/* The name of the one that was used longest ago, and how many there are. */
static unsigned find_oldest(DIR *dir, char *name, size_t size)
{
	struct timespec oldest = { .tv_sec = 0 };
	struct dirent *entry;
	unsigned count = 0;

	rewinddir(dir);
	while ((entry = readdir(dir))) {
		struct stat st;

		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		if (!count++ || st.st_mtim.tv_sec < oldest.tv_sec ||
		    (st.st_mtim.tv_sec == oldest.tv_sec && st.st_mtim.tv_nsec < oldest.tv_nsec)) {
			oldest = st.st_mtim;
			snprintf(name, size, "%s", entry->d_name);
		}
	}
	return count;
}

static void remove_old(int templates)
{
	int fd = fcntl(templates, F_DUPFD_CLOEXEC, 0);
	_cleanup_closedir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char name[NAME_MAX + 1];

	if (!dir) {
		close_fd(&fd);
		return;
	}
	while (find_oldest(dir, name, sizeof(name)) > TEMPLATES_MAX)
		if (unlinkat(templates, name, 0) < 0)
			return;
}

/* ---- use ---------------------------------------------------------------------------------------------- */

void microvm_template_open(struct microvm_plan *plan, int kernel, int initrd)
{
	struct microvm_template *t = &plan->template;

	if (!plan->machine.may_share || plan->machine.memory_mib > MEMORY_MAX || geteuid() != 0)
		return;
	t->dir = open_templates();
	if (t->dir < 0)
		return;
	make_name(t, plan, kernel, initrd);
	t->saved = openat(t->dir, t->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (t->saved >= 0 && !is_ours(t->saved, S_IFREG))
		close_fd(&t->saved);
	else if (t->saved >= 0)
		futimens(t->saved, NULL);
	if (t->saved < 0)
		t->fresh = openat(t->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

void microvm_template_settle(struct microvm_plan *plan, bool guest_is_up)
{
	struct microvm_template *t = &plan->template;
	struct snapshot_header header;

	/* One that does not lead to a guest that answers will never do: the next machine boots, and makes another. */
	if (t->saved >= 0 && !guest_is_up && unlinkat(t->dir, t->name, 0) == 0)
		log_warning("the microVM's template `" TEMPLATES
			    "/%s` was of no use, and is removed",
			    t->name);
	if (t->fresh >= 0 && guest_is_up &&
	    pread(t->fresh, &header, sizeof(header), 0) == sizeof(header) &&
	    !memcmp(header.magic, SNAPSHOT_MAGIC, sizeof(header.magic)) &&
	    linkat(AT_FDCWD, path_of_fd(t->fresh).s, t->dir, t->name, AT_SYMLINK_FOLLOW) == 0)
		remove_old(t->dir);
	close_fd(&t->saved);
	close_fd(&t->fresh);
	close_fd(&t->dir);
}
