/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.json: what a checkpoint directory holds. It is written last, so a directory without it is incomplete; and it
 * has the digest of every other file, and MANIFEST_SUM has its own, so a directory that was altered is found out.
 */
#ifndef HULL_SANDBOX_MANIFEST_H
#define HULL_SANDBOX_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "oci/config.h"

#define MANIFEST_NAME   "manifest.json"
#define MANIFEST_CONFIG "config.json"     /* beside it: the workload's configuration */
#define MANIFEST_LAYER  "rootfs-diff.tar" /* what was changed of an image, as a layer */
#define MANIFEST_SUM    "manifest.sha256" /* and its own digest, in hexadecimal digits and a newline */
#define MANIFEST_ROUND \
	"pre-copy-" /* and a number from 1: a directory with a round's memory, for containers */
#define MANIFEST_FORMAT 1  /* a newer one is refused */
#define MANIFEST_SHA256 64 /* hexadecimal digits */

/* Where it was made. */
struct manifest_host {
	const char *kernel;  /* uname(2): the release */
	const char *machine; /* "x86_64" */
	const char *cpu;     /* the model's name */
	const char *flags;   /* what it can, as in /proc/cpuinfo */
};

/* A mount whose content is not in the checkpoint: on restore it is taken from the host again. */
struct manifest_mount {
	const char *key;         /* by which CRIU knows it: our own making, never a path */
	const char *destination; /* of the configuration's mount that it is, or is below */
	const char *path;        /* below that mount's source; "" for the source itself */
};

struct manifest_file {
	const char *name;   /* of a round's: with its directory in front */
	uint64_t size;      /* bytes */
	const char *sha256; /* hexadecimal */
};

/* The image that its root file system is of: MANIFEST_LAYER lies over it. */
struct manifest_image {
	const char *name;   /* by which it was known in the store */
	const char *digest; /* "sha256:…", of its manifest */
};

/* How the memory was copied before the workload was stopped. */
struct manifest_pre_copy {
	uint64_t rounds;
	uint64_t pages; /* that were left, and written while it was stopped */
};

struct manifest_mounts {
	struct manifest_mount *items;
	size_t len;
};

struct manifest_files {
	struct manifest_file *items;
	size_t len;
};

/* Strings are borrowed from the writer, or the reader's arena. */
struct manifest {
	uint64_t format;
	const char *kind; /* sandbox_kind_name() */
	const char *id;
	const char *hull;    /* the version that wrote it */
	const char *created; /* RFC 3339 */
	const char *config;  /* digest of the configuration's file */
	bool pre_dump;       /* memory only: cannot be restored, but another can build on it */
	const char *
		parent; /* the directory with the rest of the memory, relative to this; NULL: none */
	const char *parent_digest;          /* of its manifest */
	struct manifest_image *image;       /* NULL: the root file system is the bundle's */
	struct manifest_pre_copy *pre_copy; /* NULL: there were no rounds */
	struct manifest_host *host;
	struct manifest_mounts mounts;
	struct oci_strings stdio;    /* what standard input, output and error were */
	struct oci_strings joined;   /* namespaces that were not the container's own: "net" */
	struct manifest_files files; /* in the order of their names */
};

/*
 * Reads a manifest. -EINVAL where it is none, or is damaged; -ENOTSUP where its format is newer than ours, which the
 * message says.
 */
int manifest_parse(const char *text, size_t len, struct arena *arena, struct manifest *manifest,
		   struct error *err);

/* Reads that of a directory. -ENOENT, with a message that the checkpoint is not complete, where there is none. */
int manifest_load(int dir, struct arena *arena, struct manifest *manifest, struct error *err);

void manifest_print(const struct manifest *manifest, struct strbuf *out);

/* Notes what the standard streams of the host's process are; in the arena. */
int manifest_list_stdio(struct manifest *manifest, pid_t pid, struct arena *arena,
			struct error *err);

/* What this host is; strings are in the arena. */
int manifest_host(struct arena *arena, struct manifest_host *host, struct error *err);

/*
 * Whether a checkpoint that was made on `then` can go on on `now`: the same kind of machine, and a processor that has
 * all instructions which programs find out about and use. -ENOTSUP with what is missing.
 */
int manifest_check_host(const struct manifest_host *then, const struct manifest_host *now,
			struct error *err);

/*
 * Whether hull found all files of the directory to be as the manifest says, and nobody can have changed them since (manifest_stamp.c).
 * And that it did so: manifest_stamp_begin() before the first of m->files is read, manifest_stamp() after the last, and when the directory has its name. Without
 * effect for who is not root of the host, and where the file system has no place for it.
 */
bool manifest_is_stamped(int dir, const struct manifest *manifest);
void manifest_stamp_begin(int dir, const struct manifest *manifest, struct strbuf *before);
void manifest_stamp(int dir, const struct manifest *manifest, const struct strbuf *before);

#endif
