/* SPDX-License-Identifier: Apache-2.0 */
/* Users and capabilities of the serving thread; see fs_creds.h, setfsuid(2), capabilities(7). */
#include "microvm/fs_creds.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int fs_creds_open(struct fs_creds *creds, struct error *err)
{
	int bits = prctl(PR_GET_SECUREBITS);

	*creds = (struct fs_creds){ .uid = geteuid(), .gid = getegid() };
	if (bits < 0 || (!(bits & SECBIT_NO_SETUID_FIXUP) && creds->uid == 0 &&
			 prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP) < 0))
		return error_errno(err, errno, "keep capabilities across users (securebits)");
	umask(creds->mask);
	return 0;
}

/* setfsuid() and setfsgid() do not say whether they worked: only the answer to the next call does. */
static int set_user(uid_t uid)
{
	setfsuid(uid);
	return (uid_t)setfsuid((uid_t)-1) == uid ? 0 : -EPERM;
}

static int set_group(gid_t gid)
{
	setfsgid(gid);
	return (gid_t)setfsgid((gid_t)-1) == gid ? 0 : -EPERM;
}

int fs_creds_assume(struct fs_creds *creds, uid_t uid, gid_t gid, mode_t mask)
{
	int r = 0;

	if (uid == (uid_t)-1 || gid == (gid_t)-1)
		return -EINVAL;
	mask &= 0777;
	if (mask != creds->mask) {
		umask(mask);
		creds->mask = mask;
	}
	creds->assumed = uid != creds->uid || gid != creds->gid;
	if (gid != creds->gid)
		r = set_group(gid);
	if (r == 0 && uid != creds->uid)
		r = set_user(uid);
	return r;
}

void fs_creds_restore(struct fs_creds *creds)
{
	if (!creds->assumed)
		return;
	setfsuid(creds->uid);
	setfsgid(creds->gid);
	creds->assumed = false;
}

/* Whether this changed anything. Effective is at most what is permitted, so the kernel has no reason to refuse. */
static bool set_fsetid(bool wanted)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
	const unsigned bit = 1U << CAP_FSETID;

	if (syscall(SYS_capget, &header, sets) < 0 || !(sets[0].permitted & bit) ||
	    !(sets[0].effective & bit) == !wanted)
		return false;
	sets[0].effective ^= bit;
	return syscall(SYS_capset, &header, sets) == 0;
}

bool fs_creds_drop_fsetid(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && !(st.st_mode & (S_ISUID | S_ISGID)))
		return false;
	return set_fsetid(false);
}

void fs_creds_regain_fsetid(void)
{
	set_fsetid(true);
}
