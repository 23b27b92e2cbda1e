/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine needs before a container can be made in it. */
#include <fcntl.h>
#include <linux/random.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>

#include "cmd/hull-guest/guest.h"
#include "namespaces/rootfs.h"

#define NEW_ROOT "/root"

static int mount_at(const char *type, const char *at, unsigned long flags, const char *data,
		    struct error *err)
{
	if (mkdir(at, 0755) < 0 && errno != EEXIST)
		return error_errno(err, errno, "make `%s`", at);
	if (mount(type, at, type, flags, data) < 0)
		return error_errno(err, errno, "mount `%s` on `%s`", type, at);
	return 0;
}

/*
 * The kernel's first root cannot be left by pivot_root(2), so containers could not be entered from it: a tmpfs is moved
 * over it. What is in the initramfs, this program, stays where it is.
 */
static int leave_first_root(struct error *err)
{
	int r = mount_at("tmpfs", NEW_ROOT, 0, "mode=755,size=1m", err);

	if (r < 0)
		return r;
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return error_errno(err, errno, "leave the initramfs");
	return 0;
}

/* Standard streams are the console, for messages; nothing can be read there. */
static int open_console(struct error *err)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		return error_errno(err, errno, "open `/dev/console`");
	for (int i = 0; i <= STDERR_FILENO; i++)
		if (fd != i && dup2(fd, i) < 0)
			return error_errno(err, errno, "open `/dev/console`");
	if (fd > STDERR_FILENO)
		close(fd);
	return 0;
}

int machine_set_up(struct error *err)
{
	static const struct {
		const char *type, *at, *data;
		unsigned long flags;
	} mounts[] = {
		{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "devtmpfs", "/dev", NULL, MS_NOSUID | MS_NOEXEC },
		{ "devpts", "/dev/pts", "ptmxmode=666,mode=620", MS_NOSUID | MS_NOEXEC },
		{ "cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "tmpfs", "/run", "mode=755", MS_NOSUID | MS_NODEV },
		{ "tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV },
	};
	int r;

	umask(022);
	r = leave_first_root(err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(mounts); i++)
		r = mount_at(mounts[i].type, mounts[i].at, mounts[i].flags, mounts[i].data, err);
	if (r == 0)
		r = open_console(err);
	if (r == 0)
		r = net_loopback_up(err);
	if (r == 0 && (mkdir(GUEST_RUN, 0700) < 0 || mkdir(GUEST_SHARED, 0700) < 0))
		r = error_errno(err, errno, "make `%s`", GUEST_SHARED);
	/* What programs that are started without an environment find: PATH for hooks. */
	if (r == 0 &&
	    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1) < 0)
		r = error_errno(err, errno, "setenv");
	return r;
}

static int add_random(const uint8_t seed[64], struct error *err)
{
	_cleanup_close_ int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	struct {
		struct rand_pool_info info;
		uint8_t bytes[64];
	} pool = { .info = { .entropy_count = (int)sizeof(pool.bytes) * 8,
			     .buf_size = (int)sizeof(pool.bytes) } };

	memcpy(pool.info.buf, seed, sizeof(pool.bytes));
	/* At once: the machine may be one of many that were restored from the same snapshot. */
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		return error_errno(err, errno, "seed the guest's random numbers");
	return 0;
}

int machine_take_identity(uint64_t time_ns, const uint8_t seed[64], struct error *err)
{
	struct timespec host = { .tv_sec = (time_t)(time_ns / 1000000000),
				 .tv_nsec = (long)(time_ns % 1000000000) };

	if (clock_settime(CLOCK_REALTIME, &host) < 0)
		return error_errno(err, errno, "set the guest's clock");
	return add_random(seed, err);
}

void machine_power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
