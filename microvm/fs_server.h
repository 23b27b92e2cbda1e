/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file server: a process that serves one directory tree (fs_fuse.h) to one guest. The monitor tells it where the guest's
 * memory and queues are (fs_protocol.h). One thread, one request after the other.
 *
 * It is started in a mount namespace whose root directory is the tree, or is given a descriptor of it, and read-only is what is mounted so
 * there. From the call of confine() on it needs:
 *
 *   capabilities   CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETUID and SETGID (files belong to whom the request comes from), SETFCAP
 *                  (security.capability). MKNOD only where guests shall make device nodes; SYS_ADMIN only for `trusted.` attributes.
 *   system calls   the socket, queues:  epoll_ctl epoll_wait(epoll_pwait) poll recvmsg sendmsg read write(eventfds)
 *                  its state:           preadv pwritev2 copy_file_range lseek ftruncate, and what files without a name take
 *                  memory:              mmap munmap mremap madvise brk mprotect
 *                  finding files:       openat openat2 close statx newfstatat fstat fstatfs readlinkat fcntl(F_DUPFD_CLOEXEC,
 *                                       F_GET_SEALS) getdents64 fchdir
 *                  their content:       preadv pwritev2 lseek ftruncate fallocate copy_file_range fsync fdatasync syncfs
 *                  their names:         mkdirat mknodat symlinkat linkat unlinkat renameat2
 *                  their attributes:    fchmodat fchownat utimensat getxattr setxattr listxattr removexattr
 *                  owners:              setfsuid setfsgid umask capget capset
 *                  besides:             clock_gettime rt_sigreturn restart_syscall exit_group
 *
 * and no other descriptors than it has then.
 */
#ifndef HULL_MICROVM_FS_SERVER_H
#define HULL_MICROVM_FS_SERVER_H

#include <stdbool.h>

#include "base/error.h"

struct fs_server_config {
	int socket; /* to the monitor */
	int root;   /* of the tree; -1: "/" */
	int proc; /* root of a procfs that knows this process; -1: it mounts its own, or uses /proc */
	int state; /* a file of fs_state_save()'s, from which it goes on; -1: nothing is known yet */
	bool read_only;
	int (*confine)(
		void *data,
		struct error
			*err); /* before anything of the guest's is looked at; NULL: not at all */
	void *data;
};

/*
 * Serves until the monitor ends, and then returns 0. Where it cannot go on from the state, that is its answer to each START. Takes the descriptors over. Raises the process's limit of open files to
 * what it may be, ignores SIGXFSZ, and changes the calling thread as fs_new() says.
 */
int fs_server_main(const struct fs_server_config *config, struct error *err);

#endif
