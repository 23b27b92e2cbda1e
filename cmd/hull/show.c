/* SPDX-License-Identifier: Apache-2.0 */
/* hull state, list and spec. */
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "cmd/hull/command.h"
#include "oci/spec.h"

static int print_state(const struct container *c, bool indent, struct user_name *owner,
		       struct strbuf *out, struct error *err)
{
	struct oci_state state = container_state(c);

	state.owner = user_name(owner, c->record.owner);
	return oci_state_print(&state, indent, out, err);
}

static int write_stdout(const struct strbuf *out, struct error *err)
{
	int r = file_write_all(STDOUT_FILENO, out->data, out->len);

	return r < 0 ? error_errno(err, -r, "write to standard output") : 0;
}

int cmd_state(struct context *ctx, int argc, char **argv, struct error *err)
{
	const struct option options[] = { { .name = NULL } };
	const struct usage usage = {
		"state", "ID", "Print a container's state as the OCI specification has it.",
		NULL,    1,    1
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	_cleanup_container_ struct container c = { .dir = -EBADF };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	struct user_name owner = { .known = false };
	int r = command_begin(ctx, &usage, options, argc, argv, BEGIN_LOOK, &store, err);

	if (r >= 0)
		r = container_open(&store, argv[0], CONTAINER_READ, &c, err);
	if (r == 0)
		r = print_state(&c, true, &owner, &out, err);
	strbuf_addc(&out, '\n');
	return r < 0 ? r : write_stdout(&out, err);
}

enum list_format { LIST_TABLE, LIST_JSON, LIST_IDS };

static int list_one(const struct container *c, enum list_format format, bool first,
		    struct user_name *owner, struct strbuf *out, struct error *err)
{
	if (format == LIST_IDS) {
		strbuf_addf(out, "%s\n", c->record.id);
		return 0;
	}
	if (format == LIST_JSON) {
		if (!first)
			strbuf_addc(out, ',');
		return print_state(c, false, owner, out, err);
	}
	strbuf_addf(out, "%-24s %-8d %-9s %-32s %-31s %s\n", c->record.id,
		    c->status == OCI_STOPPED ? 0 : c->record.pid, oci_status_name(c->status),
		    c->record.bundle, c->record.created, user_name(owner, c->record.owner));
	return 0;
}

static int list_all(const struct store *store, char **ids, enum list_format format,
		    struct strbuf *out, struct error *err)
{
	struct user_name owner = { .known = false }; /* nearly always one and the same */
	bool first = true;
	int r = 0;

	for (size_t i = 0; ids && ids[i] && r == 0; i++) {
		struct error one = { 0 };
		struct container c;

		r = container_open(store, ids[i], CONTAINER_READ, &c, &one);
		if (r == -ENOENT) { /* deleted while we looked */
			r = 0;
			continue;
		}
		if (r < 0) { /* one that cannot be read does not hide the others */
			log_warning("%s", one.text);
			r = 0;
			continue;
		}
		r = list_one(&c, format, first, &owner, out, err);
		first = false;
		container_close(&c);
	}
	return r;
}

int cmd_list(struct context *ctx, int argc, char **argv, struct error *err)
{
	const char *format = "table";
	bool quiet = false;
	const struct option options[] = {
		{ "quiet", 'q', OPTION_FLAG, &quiet, NULL, "print only the ids" },
		{ "format", 'f', OPTION_STRING, &format, "FORMAT", "table (default) or json" },
		{ .name = NULL },
	};
	const struct usage usage = { "list", "", "List the containers of this state directory.",
				     NULL,   0,  0 };
	_cleanup_store_ struct store store = { .dir = -EBADF };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	enum list_format f;
	char **ids = NULL;
	size_t count;
	int r = command_begin(ctx, &usage, options, argc, argv, BEGIN_LOOK, &store, err);

	if (r < 0)
		return r;
	if (strcmp(format, "table") && strcmp(format, "json"))
		return error_set(err, EINVAL, "--format `%s`: must be table or json", format);
	f = quiet ? LIST_IDS : strcmp(format, "json") ? LIST_TABLE : LIST_JSON;
	r = store_list(&store, &ids, &count, err);
	if (r < 0)
		return r;
	if (f == LIST_TABLE)
		strbuf_addf(&out, "%-24s %-8s %-9s %-32s %-31s %s\n", "ID", "PID", "STATUS",
			    "BUNDLE", "CREATED", "OWNER");
	strbuf_adds(&out, f == LIST_JSON ? "[" : "");
	r = list_all(&store, ids, f, &out, err);
	strbuf_adds(&out, f == LIST_JSON ? "]\n" : "");
	store_free_ids(ids);
	return r < 0 ? r : write_stdout(&out, err);
}

int cmd_spec(struct context *ctx _unused_, int argc, char **argv, struct error *err)
{
	const char *bundle = ".", *file = "config.json";
	bool rootless = false;
	const struct option options[] = {
		{ "bundle", 'b', OPTION_STRING, &bundle, "DIR",
		  "where to write it (default: the working directory)" },
		{ "file", 'f', OPTION_STRING, &file, "FILE", "its name (default: config.json)" },
		{ "rootless", 0, OPTION_FLAG, &rootless, NULL,
		  "for a container without root: a user namespace, your own id" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"spec",
		"",
		"Write a config.json that runs `sh` in the directory rootfs, to begin with.",
		NULL,
		0,
		0
	};
	_cleanup_arena_ struct arena arena = { 0 };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	_cleanup_close_ int dir = -EBADF, fd = -EBADF;
	struct oci_config *config;
	int r = command_options(&usage, options, argc, argv, err);

	if (r < 0)
		return r;
	config = oci_spec_default(&arena, rootless, err);
	if (!config)
		return -ENOMEM;
	r = oci_config_print(config, &out, err);
	if (r < 0)
		return r;
	dir = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return error_errno(err, errno, "--bundle `%s`", bundle);
	fd = openat(dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0 && errno == EEXIST)
		return error_set(err, EEXIST, "`%s` exists already in `%s`: remove it first", file,
				 bundle);
	if (fd < 0)
		return error_errno(err, errno, "create `%s` in `%s`", file, bundle);
	r = file_write_all(fd, out.data, out.len);
	return r < 0 ? error_errno(err, -r, "write `%s`", file) : 0;
}
