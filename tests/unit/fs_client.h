/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's kernel, as far as the file server can see one: puts requests together, in buffers that begin and end at odd places, and
 * takes answers apart. Each client has a file system of its own, in a directory T: T/tree is served, T/outside is not.
 */
#ifndef HULL_TESTS_UNIT_FS_CLIENT_H
#define HULL_TESTS_UNIT_FS_CLIENT_H

#include "tests/unit/unit.h"

#include <linux/fuse.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "microvm/fs_fuse.h"

#define FS_CLIENT_DATA ((size_t)1 << 20)
#define FS_NO_ANSWER   1 /* fs_call(): no answer came */

struct fs_client {
	struct fs *fs;
	char path[128]; /* T */
	int base, tree; /* T and T/tree, for reading */
	uint32_t uid, gid, umask;
	uint64_t unique;
	/* The last request, and its answer. */
	uint8_t request[FS_CLIENT_DATA + 4096];
	struct {
		struct fuse_out_header header;
		uint8_t data[FS_CLIENT_DATA];
	} answer;
	size_t answered; /* bytes, without the header */
	size_t room;     /* bytes of answer that are offered, with the header; 0: all */
};

/* For cmocka: a client after INIT, and its end. */
int fs_client_setup(void **state);
int fs_client_teardown(void **state);

/* The same with limits other than the usual ones, which the caller changes in config after fs_config_init(). */
struct fs_client *fs_client_open(const struct fs_config *limits);
void fs_client_close(struct fs_client *c);

/* Sends len bytes as they are. What fs_call() says. */
int fs_send(struct fs_client *c, size_t len);

/* Begins a request in c->request; adds to it; returns its length by now, which fs_send() takes and puts into the header. */
size_t fs_begin(struct fs_client *c, uint32_t opcode, uint64_t node);
size_t fs_add(struct fs_client *c, size_t at, const void *data, size_t len);

/* A whole request, with what is not NULL: the answer's error (negative or 0), or FS_NO_ANSWER. */
int fs_call(struct fs_client *c, uint32_t opcode, uint64_t node, const void *arg, size_t arg_size,
	    const char *name, const char *second);

/* INIT with these flags. */
int fs_init(struct fs_client *c, uint64_t flags);

/* The rest fails the test where the server says no. */
uint64_t fs_lookup(struct fs_client *c, uint64_t dir, const char *name);
/* An error, or 0 with a node, or -ENOENT where node 0 says so. */
int fs_try_lookup(struct fs_client *c, uint64_t dir, const char *name,
		  struct fuse_entry_out *entry);
void fs_forget(struct fs_client *c, uint64_t node, uint64_t count);
void fs_getattr(struct fs_client *c, uint64_t node, struct fuse_attr *attr);
int fs_setattr(struct fs_client *c, uint64_t node, const struct fuse_setattr_in *in);
uint64_t fs_open(struct fs_client *c, uint64_t node, uint32_t flags);
int fs_try_open(struct fs_client *c, uint64_t node, uint32_t flags, struct fuse_open_out *out);
uint64_t fs_opendir(struct fs_client *c, uint64_t node);
/* A new open file; node may be NULL. */
uint64_t fs_create(struct fs_client *c, uint64_t dir, const char *name, uint32_t flags, mode_t mode,
		   uint64_t *node);
int fs_try_create(struct fs_client *c, uint64_t dir, const char *name, uint32_t flags, mode_t mode,
		  struct fuse_entry_out *entry, struct fuse_open_out *out);
void fs_release(struct fs_client *c, uint64_t node, uint64_t fh);
uint64_t fs_mkdir(struct fs_client *c, uint64_t dir, const char *name, mode_t mode);
int fs_mknod(struct fs_client *c, uint64_t dir, const char *name, mode_t mode, uint32_t rdev);
/* Bytes, or an error. What was read is c->answer.data. */
int fs_read(struct fs_client *c, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size);
int fs_write(struct fs_client *c, uint64_t node, uint64_t fh, uint64_t offset, const void *data,
	     uint32_t size, uint32_t flags, uint32_t write_flags);
int fs_setxattr(struct fs_client *c, uint64_t node, const char *name, const void *value,
		size_t size, uint32_t flags);
int fs_getxattr(struct fs_client *c, uint64_t node, const char *name, uint32_t size);

/* On the host: a file in T/tree with this text (NULL: a directory), and its attributes. */
void fs_host_write(struct fs_client *c, const char *name, const char *text);
void fs_host_stat(struct fs_client *c, const char *name, struct stat *st);

#define fs_test(f) cmocka_unit_test_setup_teardown(f, fs_client_setup, fs_client_teardown)

#endif
