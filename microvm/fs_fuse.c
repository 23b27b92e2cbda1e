/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The form of FUSE requests: what each consists of is in a table, by which it is copied, checked and taken apart; see
 * fs_fuse.h and the kernel's include/uapi/linux/fuse.h.
 */
#include "microvm/fs_fuse.h"

#include <linux/limits.h>
#include <malloc.h>
#include <string.h>
#include <sys/resource.h>

#include "microvm/fs_iov.h"
#include "microvm/fs_path.h"
#include "microvm/fs_request.h"

/* What the server makes use of, where the guest's kernel has it. */
#define WANTED                                                                                 \
	(FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK |            \
	 FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | \
	 FUSE_PARALLEL_DIROPS | FUSE_POSIX_ACL | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |        \
	 FUSE_SUBMOUNTS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT)

#define INIT_IN_SIZE      16 /* struct fuse_init_in before FUSE_INIT_EXT */
#define SETXATTR_OLD_SIZE 8  /* struct fuse_setxattr_in before FUSE_SETXATTR_EXT */
#define READAHEAD_MAX     (1U << 20)
#define BACKGROUND_MAX    64 /* requests that nobody waits for, at once */

enum text {
	TEXT_NONE,
	TEXT_NAME,   /* of a directory's entry */
	TEXT_TARGET, /* of a symbolic link */
	TEXT_XATTR,
	TEXT_ANY, /* looked at by nobody */
};

struct form {
	fs_operation *run;
	uint8_t arg;           /* bytes of the fixed argument */
	uint8_t first, second; /* enum text: strings that follow it, each with its NUL */
	uint16_t answer;       /* bytes that the answer needs at least */
	bool rest : 1;         /* more follows */
	bool data : 1;         /* more follows, and stays in the guest's buffers */
	bool no_node : 1;      /* nodeid means nothing, or is looked at with the open file */
	bool no_answer : 1;    /* whatever happens */
	bool changes : 1;      /* not on a read-only file system */
	bool before_init : 1;  /* needs no INIT */
};

static int do_nothing(struct fs_request *req _unused_)
{
	return 0;
}

static int do_ioctl(struct fs_request *req _unused_)
{
	return -ENOTTY;
}

#define ENTRY_SIZE sizeof(struct fuse_entry_out)

static const struct form forms[] = {
	[FUSE_LOOKUP] = { fs_do_lookup, 0, TEXT_NAME, .answer = ENTRY_SIZE },
	[FUSE_FORGET] = { fs_do_forget, sizeof(struct fuse_forget_in), .no_answer = true },
	[FUSE_GETATTR] = { fs_do_getattr, sizeof(struct fuse_getattr_in),
			   .answer = sizeof(struct fuse_attr_out) },
	[FUSE_SETATTR] = { fs_do_setattr, sizeof(struct fuse_setattr_in),
			   .answer = sizeof(struct fuse_attr_out), .changes = true },
	[FUSE_READLINK] = { fs_do_readlink },
	[FUSE_SYMLINK] = { fs_do_symlink, 0, TEXT_NAME, TEXT_TARGET, ENTRY_SIZE, .changes = true },
	[FUSE_MKNOD] = { fs_do_mknod, sizeof(struct fuse_mknod_in), TEXT_NAME, .answer = ENTRY_SIZE,
			 .changes = true },
	[FUSE_MKDIR] = { fs_do_mkdir, sizeof(struct fuse_mkdir_in), TEXT_NAME, .answer = ENTRY_SIZE,
			 .changes = true },
	[FUSE_UNLINK] = { fs_do_unlink, 0, TEXT_NAME, .changes = true },
	[FUSE_RMDIR] = { fs_do_rmdir, 0, TEXT_NAME, .changes = true },
	[FUSE_RENAME] = { fs_do_rename, sizeof(struct fuse_rename_in), TEXT_NAME, TEXT_NAME,
			  .changes = true },
	[FUSE_LINK] = { fs_do_link, sizeof(struct fuse_link_in), TEXT_NAME, .answer = ENTRY_SIZE,
			.changes = true },
	[FUSE_OPEN] = { fs_do_open, sizeof(struct fuse_open_in),
			.answer = sizeof(struct fuse_open_out) },
	[FUSE_READ] = { fs_do_read, sizeof(struct fuse_read_in), .no_node = true },
	[FUSE_WRITE] = { fs_do_write, sizeof(struct fuse_write_in), .data = true,
			 .answer = sizeof(struct fuse_write_out), .changes = true,
			 .no_node = true },
	[FUSE_STATFS] = { fs_do_statfs, .answer = sizeof(struct fuse_statfs_out) },
	[FUSE_RELEASE] = { fs_do_release, sizeof(struct fuse_release_in), .no_node = true },
	[FUSE_FSYNC] = { fs_do_fsync, sizeof(struct fuse_fsync_in), .no_node = true },
	[FUSE_SETXATTR] = { fs_do_setxattr, sizeof(struct fuse_setxattr_in), TEXT_XATTR,
			    .rest = true, .changes = true },
	[FUSE_GETXATTR] = { fs_do_getxattr, sizeof(struct fuse_getxattr_in), TEXT_XATTR },
	[FUSE_LISTXATTR] = { fs_do_listxattr, sizeof(struct fuse_getxattr_in) },
	[FUSE_REMOVEXATTR] = { fs_do_removexattr, 0, TEXT_XATTR, .changes = true },
	[FUSE_FLUSH] = { fs_do_flush, sizeof(struct fuse_flush_in), .no_node = true },
	[FUSE_INIT] = { fs_do_init, INIT_IN_SIZE, .rest = true,
			.answer = sizeof(struct fuse_init_out), .no_node = true,
			.before_init = true },
	[FUSE_OPENDIR] = { fs_do_opendir, sizeof(struct fuse_open_in),
			   .answer = sizeof(struct fuse_open_out) },
	[FUSE_READDIR] = { fs_do_readdir, sizeof(struct fuse_read_in), .no_node = true },
	[FUSE_RELEASEDIR] = { fs_do_release, sizeof(struct fuse_release_in), .no_node = true },
	[FUSE_FSYNCDIR] = { fs_do_fsync, sizeof(struct fuse_fsync_in), .no_node = true },
	[FUSE_ACCESS] = { fs_do_access, sizeof(struct fuse_access_in) },
	[FUSE_CREATE] = { fs_do_create, sizeof(struct fuse_create_in), TEXT_NAME,
			  .answer = ENTRY_SIZE + sizeof(struct fuse_open_out), .changes = true },
	/* Nothing is ever interrupted: each request is finished before the next is looked at. */
	[FUSE_INTERRUPT] = { do_nothing, sizeof(struct fuse_interrupt_in), .no_node = true,
			     .no_answer = true },
	[FUSE_DESTROY] = { fs_do_destroy, .no_node = true, .before_init = true },
	[FUSE_IOCTL] = { do_ioctl, sizeof(struct fuse_ioctl_in), .rest = true, .no_node = true },
	[FUSE_BATCH_FORGET] = { fs_do_batch_forget, sizeof(struct fuse_batch_forget_in),
				.rest = true, .no_node = true, .no_answer = true },
	[FUSE_FALLOCATE] = { fs_do_fallocate, sizeof(struct fuse_fallocate_in), .changes = true,
			     .no_node = true },
	[FUSE_READDIRPLUS] = { fs_do_readdirplus, sizeof(struct fuse_read_in), .no_node = true },
	[FUSE_RENAME2] = { fs_do_rename2, sizeof(struct fuse_rename2_in), TEXT_NAME, TEXT_NAME,
			   .changes = true },
	[FUSE_LSEEK] = { fs_do_lseek, sizeof(struct fuse_lseek_in),
			 .answer = sizeof(struct fuse_lseek_out), .no_node = true },
	[FUSE_COPY_FILE_RANGE] = { fs_do_copy_file_range, sizeof(struct fuse_copy_file_range_in),
				   .answer = sizeof(struct fuse_write_out), .changes = true,
				   .no_node = true },
	[FUSE_SYNCFS] = { fs_do_syncfs, sizeof(struct fuse_syncfs_in) },
	/* The kernel names what has no name "/". */
	[FUSE_TMPFILE] = { fs_do_tmpfile, sizeof(struct fuse_create_in), TEXT_ANY,
			   .answer = ENTRY_SIZE + sizeof(struct fuse_open_out), .changes = true },
	[FS_FUSE_STATX] = { fs_do_statx, sizeof(struct fs_statx_in),
			    .answer = sizeof(struct fs_statx_out) },
};

/* ---- taking a request apart --------------------------------------------------------------------- */

static int check_text(enum text kind, const char *text)
{
	size_t len = strlen(text);

	switch (kind) {
	case TEXT_NAME:
		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		return fs_name_valid(text) ? 0 : -EINVAL;
	case TEXT_TARGET:
		if (len >= PATH_MAX)
			return -ENAMETOOLONG;
		return len ? 0 : -EINVAL;
	case TEXT_XATTR:
		return len && len <= XATTR_NAME_MAX ? 0 : -ERANGE;
	default:
		return 0;
	}
}

static int take_text(enum text kind, const char **text, struct fs_request *req)
{
	const char *start = req->rest;
	const char *end = memchr(start, '\0', req->rest_size);

	if (kind == TEXT_NONE)
		return 0;
	if (!end)
		return -EINVAL;
	*text = start;
	req->rest = end + 1;
	req->rest_size -= (size_t)(end + 1 - start);
	return check_text(kind, start);
}

static int take_body(struct fs_request *req, const struct form *form, size_t size)
{
	uint8_t *to = req->fs->in;
	size_t arg = form->arg, body = size - sizeof(req->header);
	int r;

	if (req->header.opcode == FUSE_SETXATTR && !fs_has(req->fs, FUSE_SETXATTR_EXT))
		arg = SETXATTR_OLD_SIZE;
	if (body < arg)
		return -EINVAL;
	req->arg = to;
	req->rest = to + form->arg;
	req->rest_size = form->data ? 0 : body - arg;
	req->data_size = form->data ? body - arg : 0;
	if (form->arg + req->rest_size > FS_IN_MAX)
		return -E2BIG;
	memset(to, 0, form->arg);
	if (!fs_iov_read(req->in, req->in_count, sizeof(req->header), to, arg) ||
	    !fs_iov_read(req->in, req->in_count, sizeof(req->header) + arg, to + form->arg,
			 req->rest_size))
		return -EINVAL;
	r = take_text(form->first, &req->name, req);
	if (r == 0)
		r = take_text(form->second, &req->second, req);
	if (r == 0 && req->rest_size && !form->rest)
		r = -EINVAL;
	return r;
}

static int serve(struct fs_request *req, const struct form *form, size_t size)
{
	struct fs *fs = req->fs;
	int r;

	if (req->header.len != size || req->header.total_extlen || req->room < form->answer)
		return -EINVAL;
	if (!fs->initialised && !form->before_init)
		return -EIO;
	if (form->changes && fs->read_only)
		return -EROFS;
	if (!form->no_node) {
		req->node = fs_node_get(&fs->nodes, req->header.nodeid);
		if (!req->node)
			return -ESTALE;
	}
	r = take_body(req, form, size);
	return r < 0 ? r : form->run(req);
}

static size_t answer(const struct fs_request *req, int result)
{
	struct fuse_out_header header = { .unique = req->header.unique };
	size_t size = result > 0 ? (size_t)result : 0;

	header.error = result < 0 ? result : 0;
	header.len = (uint32_t)(sizeof(header) + size);
	if (!req->direct)
		fs_iov_write(req->out, req->out_count, sizeof(header), req->fs->out, size);
	fs_iov_write(req->out, req->out_count, 0, &header, sizeof(header));
	return header.len;
}

size_t fs_handle(struct fs *fs, const struct iovec *in, unsigned in_count, const struct iovec *out,
		 unsigned out_count)
{
	struct fs_request req = {
		.fs = fs, .in = in, .out = out, .in_count = in_count, .out_count = out_count
	};
	size_t size = fs_iov_size(in, in_count), room = fs_iov_size(out, out_count);
	const struct form *form = NULL;
	int r = -ENOSYS;

	if (in_count > FS_IOV_MAX || out_count > FS_IOV_MAX ||
	    !fs_iov_read(in, in_count, 0, &req.header, sizeof(req.header)))
		return 0;
	if (req.header.opcode < ARRAY_SIZE(forms) && forms[req.header.opcode].run)
		form = &forms[req.header.opcode];
	if (form && form->no_answer) {
		serve(&req, form, size);
		return 0;
	}
	if (room < sizeof(struct fuse_out_header))
		return 0;
	req.room = room - sizeof(struct fuse_out_header);
	if (form)
		r = serve(&req, form, size);
	/* An operation looks itself how much it may answer; this is for the day when one does not. */
	if (r > 0 && (size_t)r > req.room)
		r = -EIO;
	return answer(&req, r);
}

int fs_answer(struct fs_request *req, size_t offset, const void *answer, size_t size)
{
	memcpy(req->fs->out + offset, answer, size);
	return (int)(offset + size);
}

/* ---- the session -------------------------------------------------------------------------------- */

int fs_do_init(struct fs_request *req)
{
	const struct fuse_init_in *in = req->arg; /* of which INIT_IN_SIZE bytes are certain */
	struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = FS_FUSE_MINOR };
	struct fs *fs = req->fs;

	/* A newer kernel asks again in our version. */
	if (in->major > FUSE_KERNEL_VERSION)
		return fs_answer(req, 0, &out, sizeof(out));
	if (in->major < FUSE_KERNEL_VERSION || in->minor < FS_FUSE_MINOR_MIN)
		return -EPROTO;
	fs_reset(fs); /* a kernel that was started anew without saying goodbye */
	fs->initialised = true;
	fs->features = in->flags & WANTED;
	out.flags = (uint32_t)fs->features;
	out.max_readahead = in->max_readahead < READAHEAD_MAX ? in->max_readahead : READAHEAD_MAX;
	out.max_background = BACKGROUND_MAX;
	out.congestion_threshold = BACKGROUND_MAX / 4 * 3;
	out.max_pages = FS_MAX_PAGES;
	out.max_write = FS_MAX_PAGES * 4096;
	out.time_gran = 1;
	return fs_answer(req, 0, &out, sizeof(out));
}

int fs_do_destroy(struct fs_request *req)
{
	fs_reset(req->fs);
	return 0;
}

void fs_reset(struct fs *fs)
{
	fs_files_clear(&fs->files, &fs->nodes);
	fs_nodes_clear(&fs->nodes);
	fs->initialised = false;
	fs->features = 0;
}

void fs_config_init(struct fs_config *config)
{
	struct rlimit limit = { .rlim_cur = 1024 };
	rlim_t fds;

	getrlimit(RLIMIT_NOFILE, &limit);
	fds = limit.rlim_cur > FS_FDS_NEEDED ? limit.rlim_cur - FS_FDS_NEEDED : 0;
	*config = (struct fs_config){ .cache_ms = FS_CACHE_MS, .nodes_max = FS_NODES_MAX };
	config->fds_max = fds / 2 < FS_FDS_MAX ? (unsigned)(fds / 2) : FS_FDS_MAX;
	fds -= config->fds_max;
	config->files_max = fds < FS_FILES_MAX ? (unsigned)fds : FS_FILES_MAX;
}

struct fs *fs_new(const struct fs_config *config, struct error *err)
{
	_cleanup_close_ int root = config->root, descriptors = config->descriptors;
	struct fs *fs = calloc(1, sizeof(*fs));
	int r;

	if (!fs) {
		error_errno(err, ENOMEM, "serve files");
		return NULL;
	}
	fs->descriptors = take_fd(&descriptors);
	fs->read_only = config->read_only;
	fs->cache_ms = config->cache_ms;
	fs_files_open(&fs->files, config->files_max);
	fs->in = malloc(FS_IN_MAX);
	fs->out = malloc(FS_OUT_MAX);
	r = fs->in && fs->out ? 0 : error_errno(err, ENOMEM, "serve files");
	if (r == 0)
		r = fs_nodes_open(&fs->nodes, take_fd(&root), config->nodes_max, config->fds_max,
				  err);
	if (r == 0)
		r = fs_creds_open(&fs->creds, err);
	if (r < 0) {
		fs_free(fs);
		return NULL;
	}
	return fs;
}

void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	fs_files_clear(&fs->files, &fs->nodes);
	fs_nodes_close(&fs->nodes);
	close_fd(&fs->descriptors);
	free(fs->in);
	free(fs->out);
	free(fs);
}
