/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As whom the file server acts. The guest's kernel checks who may do what (FUSE's default_permissions), and a guest that does not
 * has only itself to lose; so the server works with its own user and capabilities, except in two things: new files belong to whom
 * the request comes from, and what the kernel takes from a file that somebody without CAP_FSETID changes, it shall take.
 */
#ifndef HULL_MICROVM_FS_CREDS_H
#define HULL_MICROVM_FS_CREDS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

struct fs_creds {
	uid_t uid; /* the server's own */
	gid_t gid;
	mode_t mask;  /* the process's umask now */
	bool assumed; /* somebody else's are set */
};

/*
 * Prepares the calling thread, which alone may call the others: capabilities stay where the file system user changes
 * (SECBIT_NO_SETUID_FIXUP). Without CAP_SETUID and CAP_SETGID, files can be made for the own user only.
 */
int fs_creds_open(struct fs_creds *creds, struct error *err);

/*
 * Files that are made from here on belong to uid and gid, and lose the bits of mask. -EINVAL for -1, -EPERM where we may not, or
 * our user namespace has no such id. Undone by fs_creds_restore(), also after an error.
 */
int fs_creds_assume(struct fs_creds *creds, uid_t uid, gid_t gid, mode_t mask);
void fs_creds_restore(struct fs_creds *creds);

/*
 * Without CAP_FSETID, a write or a truncation takes S_ISUID and S_ISGID from the file (inode(7), capabilities(7)). Gives it up, where
 * the file fd is of has such bits, and returns whether that was done: fs_creds_regain_fsetid() takes it back then.
 */
bool fs_creds_drop_fsetid(int fd);
void fs_creds_regain_fsetid(void);

#endif
