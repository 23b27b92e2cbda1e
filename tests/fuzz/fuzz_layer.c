/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a layer, applied to T/root. Whatever they are, T must hold nothing else afterwards,
 * T/outside must be as it was, and T/root must be removable. The first byte chooses: raw bytes as the
 * tar stream, or a little language of entries, so that most inputs get past the tar's checksums; and the form, flat or
 * overlay, with T/lower beneath or without. T/lower must not change either.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/remove.h"
#include "base/strbuf.h"
#include "oci/image/layer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static int work_fd = -1, lower_fd = -1;

/* What is beneath an overlay's layer, by the names that entries have: a directory, a file, links that want out. */
static void make_lower(void)
{
	if (mkdirat(work_fd, "lower", 0755) < 0)
		abort();
	lower_fd = openat(work_fd, "lower", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mkdirat(lower_fd, "a", 0750) < 0 || mkdirat(lower_fd, "a/b", 0700) < 0 ||
	    mknodat(lower_fd, "a/c", S_IFREG | 0644, 0) < 0 ||
	    symlinkat("../outside", lower_fd, "b") < 0 || symlinkat("/a", lower_fd, "c") < 0 ||
	    symlinkat("../..", lower_fd, "a/tmp") < 0)
		abort();
}

int LLVMFuzzerInitialize(int *argc _unused_, char ***argv _unused_)
{
	const char *base = getenv("TMPDIR"); /* a tmpfs is ten times as fast */
	char work[256];
	int outside;

	log_configure(&(struct log_config){ .fd = -1, .quiet = true });
	umask(022);
	snprintf(work, sizeof(work), "%s/hull-fuzz-layer.XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(work))
		abort();
	work_fd = open(work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	outside = openat(work_fd, "outside", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (outside < 0 || write(outside, "outside", 7) != 7)
		abort();
	close(outside);
	make_lower();
	return 0;
}

/* ---- entries from bytes ------------------------------------------------------------------- */

struct input {
	const uint8_t *data;
	size_t left;
};

static unsigned next(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->data++;
}

/* Few words, so that names meet one another. */
static void add_path(struct input *in, char *out, size_t size)
{
	static const char *const words[] = { "a",    "b",     "c",      "..",        ".",
					     "",     "/",     ".wh.a",  ".wh.b",     ".wh..wh..opq",
					     ".wh.", ".wh..", ".wh...", ".wh..wh.x", "outside",
					     "tmp" };
	unsigned parts = 1 + next(in) % 4;
	size_t used = 0;

	out[0] = '\0';
	while (parts--) {
		const char *word = words[next(in) % ARRAY_SIZE(words)];

		if (used + strlen(word) + 2 > size)
			return;
		used += (size_t)sprintf(out + used, "%s%s", word, parts ? "/" : "");
	}
}

static void add_entry(struct input *in, struct strbuf *tar)
{
	static const char types[] = "0123456500555222111";
	static const char magic[8] = { 'u', 's', 't', 'a', 'r', '\0', '0', '0' };
	static const char zeros[512];
	char header[512] = { 0 };
	unsigned sum = 0, len = next(in) % 8;

	add_path(in, header, 100);
	header[156] = types[next(in) % (sizeof(types) - 1)];
	snprintf(header + 100, 8, "%07o", (next(in) << 4) & 07777);
	snprintf(header + 108, 8, "%07o", next(in));
	snprintf(header + 116, 8, "%07o", next(in));
	snprintf(header + 124, 12, "%011o", header[156] == '0' ? len : 0);
	snprintf(header + 136, 12, "%011o", next(in));
	memset(header + 148, ' ', 8);
	add_path(in, header + 157, 100);
	memcpy(header + 257, magic, sizeof(magic));
	snprintf(header + 329, 8, "%07o", 1U);
	snprintf(header + 337, 8, "%07o", 3U);
	for (size_t i = 0; i < sizeof(header); i++)
		sum += (unsigned char)header[i];
	snprintf(header + 148, 8, "%06o", sum);
	strbuf_add(tar, header, sizeof(header));
	if (header[156] == '0' && len)
		strbuf_add(tar, zeros, sizeof(zeros));
}

/* ---- applying ----------------------------------------------------------------------------- */

static ssize_t read_input(void *data, const char **block, struct error *err _unused_)
{
	struct input *in = data;
	size_t len = in->left < 1000 ? in->left : 1000;

	*block = (const char *)in->data;
	in->data += len;
	in->left -= len;
	return (ssize_t)len;
}

static void apply(struct layer_target *target, const void *data, size_t size)
{
	struct input in = { data, size };
	struct error err = { 0 };

	if (layer_apply(target, read_input, &in, &err) < 0 && (!err.code || !err.text[0]))
		abort(); /* every failure says what it was */
}

static void check_outside(void)
{
	DIR *dir = fdopendir(openat(work_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *entry;
	struct stat st;

	if (!dir)
		abort();
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    strcmp(entry->d_name, "root") != 0 && strcmp(entry->d_name, "lower") != 0 &&
		    strcmp(entry->d_name, "outside") != 0)
			abort();
	closedir(dir);
	if (fstatat(work_fd, "outside", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    st.st_mode != (S_IFREG | 0600) || st.st_size != 7 || st.st_nlink != 1 ||
	    st.st_uid != geteuid())
		abort();
	/* Any file made or removed in there would count. */
	if (fstatat(work_fd, "lower/a/c", &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_nlink != 1 ||
	    st.st_size || fstat(lower_fd, &st) < 0 || st.st_nlink != 3)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	_cleanup_strbuf_ struct strbuf tar = { 0 };
	struct layer_target target;
	unsigned how = next(&in);
	int root;

	if (mkdirat(work_fd, "root", 0755) < 0)
		abort();
	root = openat(work_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	layer_target_init(&target, root, how & 2);
	if (how & 4)
		target.form = LAYER_OVERLAY;
	target.lower = how & 8 ? lower_fd : how & 16 ? LAYER_LOWER_NONE : LAYER_LOWER_UNKNOWN;
	if (how & 1) {
		apply(&target, in.data, in.left);
	} else {
		/* 0xff starts another layer. */
		while (in.left) {
			if (*in.data == 0xff) {
				apply(&target, tar.data, tar.len);
				strbuf_free(&tar);
				memset(&tar, 0, sizeof(tar));
			}
			add_entry(&in, &tar);
		}
		apply(&target, tar.data, tar.len);
	}
	layer_target_finish(&target, NULL);
	layer_target_free(&target);
	close(root);
	check_outside();
	if (path_remove_tree(work_fd, "root", NULL) < 0)
		abort();
	return 0;
}
