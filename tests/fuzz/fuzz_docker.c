/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as an archive of `docker save`, read as far as its layers. The two files of JSON in it are what the reader
 * parses; a mutator that knows no tar would seldom get there, so the input may also be these two: see make_archive().
 */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "oci/image/manifest.h"

#define LAYER_MAX ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc _unused_, char ***argv _unused_)
{
	log_configure(&(struct log_config){ .fd = -1, .quiet = true });
	return 0;
}

static void check_failure(int r, const struct error *err)
{
	if (r < 0 && (!err->code || !err->text[0]))
		abort();
}

/* Whatever is found in a source of the input can be read, or the error says why not. */
static void find(struct image_source *source)
{
	const struct image_platform platform = { "linux", "amd64", { "", "v1" } };
	_cleanup_arena_ struct arena arena;
	struct image_manifest manifest;
	struct error err = { 0 };
	int r;

	arena_init(&arena, IMAGE_ARENA_MAX);
	r = image_manifest_find(source, NULL, &platform, &arena, &manifest, &err);
	check_failure(r, &err);
	for (size_t i = 0; r >= 0 && i < manifest.layer_count; i++) {
		char *data = NULL;
		ssize_t len;

		error_clear(&err);
		len = image_blob_load(source, &manifest.layers[i].blob, LAYER_MAX, &data, &err);
		check_failure((int)len, &err);
		free(data);
	}
}

static void open_archive(const void *data, size_t size, const char *tag)
{
	const struct image_source_options options = { 0 };
	struct image_source *source = NULL;
	struct error err = { 0 };
	int fd = memfd_create("archive", MFD_CLOEXEC), r;

	if (fd < 0 || file_write_all(fd, data, size) < 0)
		abort();
	r = image_source_open_docker(fd, tag, &options, &source, &err);
	check_failure(r, &err);
	if (r >= 0)
		find(source);
	image_source_close(source);
}

/* ---- an archive of the input ---- */

static void put(struct strbuf *tar, const char *name, char type, const char *link, const void *data,
		size_t len)
{
	char header[512] = { 0 };
	unsigned sum = 0;

	snprintf(header, 100, "%s", name);
	strcpy(header + 100, "0000644");
	snprintf(header + 124, 12, "%011zo", len);
	memset(header + 148, ' ', 8);
	header[156] = type;
	snprintf(header + 157, 100, "%s", link);
	strcpy(header + 257, "ustar");
	header[263] = header[264] = '0';
	for (size_t i = 0; i < sizeof(header); i++)
		sum += (unsigned char)header[i];
	snprintf(header + 148, 8, "%06o", sum);
	strbuf_add(tar, header, sizeof(header));
	strbuf_add(tar, data, len);
	memset(header, 0, sizeof(header));
	strbuf_add(tar, header, (512 - len % 512) % 512);
}

/* "LINK\n", then manifest.json up to a NUL, then config.json; beside a layer, and a link with that target. */
static void make_archive(struct strbuf *tar, const char *data, size_t size)
{
	const char *line = memchr(data, '\n', size), *end;
	static const char zeros[1024];
	char link[100] = "";
	size_t left;

	if (!line)
		return;
	snprintf(link, sizeof(link), "%.*s", (int)(line - data), data);
	left = size - (size_t)(line + 1 - data);
	end = memchr(line + 1, '\0', left);
	if (!end)
		return;
	put(tar, "l/tar", '0', "", zeros, 512);
	put(tar, "l/link", '2', link, "", 0);
	put(tar, "l/hard", '1', link, "", 0);
	put(tar, "manifest.json", '0', "", line + 1, (size_t)(end - line - 1));
	put(tar, "config.json", '0', "", end + 1, (size_t)(data + size - end - 1));
	strbuf_add(tar, zeros, sizeof(zeros));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_strbuf_ struct strbuf tar = { 0 };

	open_archive(data, size, NULL);
	make_archive(&tar, (const char *)data, size);
	if (!tar.len || strbuf_failed(&tar))
		return 0;
	open_archive(tar.data, tar.len, NULL);
	open_archive(tar.data, tar.len, "t");
	return 0;
}
