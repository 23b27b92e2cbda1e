/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing manifest.json; see manifest.h. */
#include "sandbox/manifest.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "oci/schema.h"

#define MANIFEST_MAX ((size_t)16 << 20) /* bytes; a checkpoint has some files for each process */
#define CPUINFO_MAX  ((size_t)16 << 20)

/* ---- the tables --------------------------------------------------------------------------------- */

static bool is_name(const char *s)
{
	return *s && !strchr(s, '/') && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static bool is_file_name(const char *s)
{
	const char *slash = strchr(s, '/');

	if (!slash)
		return is_name(s);
	return !strncmp(s, MANIFEST_ROUND, strlen(MANIFEST_ROUND)) && is_name(slash + 1);
}

static bool is_sha256(const char *s)
{
	return strlen(s) == MANIFEST_SHA256 && strspn(s, "0123456789abcdef") == MANIFEST_SHA256;
}

static const struct schema_format file_name = { "a file's name", "pages-1.img", is_file_name };
static const struct schema_format sha256 = {
	"a SHA-256 digest", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	is_sha256
};

static const struct schema_member host_members[] = {
	MEMBER(struct manifest_host, kernel, "kernel", .required = true),
	MEMBER(struct manifest_host, machine, "machine", .required = true),
	MEMBER(struct manifest_host, cpu, "cpu", .required = true),
	MEMBER(struct manifest_host, flags, "cpuFlags", .required = true),
};
static const struct schema host_schema = SCHEMA(struct manifest_host, host_members);

static const struct schema_member image_members[] = {
	MEMBER(struct manifest_image, name, "name", .required = true),
	MEMBER(struct manifest_image, digest, "digest", .required = true),
};
static const struct schema image_schema = SCHEMA(struct manifest_image, image_members);

static const struct schema_member pre_copy_members[] = {
	MEMBER(struct manifest_pre_copy, rounds, "rounds", .required = true),
	MEMBER(struct manifest_pre_copy, pages, "pages", .required = true),
};
static const struct schema pre_copy_schema = SCHEMA(struct manifest_pre_copy, pre_copy_members);

static const struct schema_member mount_members[] = {
	MEMBER(struct manifest_mount, key, "key", .required = true),
	MEMBER(struct manifest_mount, destination, "destination", .required = true),
	MEMBER(struct manifest_mount, path, "path", .required = true),
};
static const struct schema mount_schema = SCHEMA(struct manifest_mount, mount_members);

static const struct schema_member file_members[] = {
	MEMBER(struct manifest_file, name, "name", .required = true, .format = &file_name),
	MEMBER(struct manifest_file, size, "size", .required = true),
	MEMBER(struct manifest_file, sha256, "sha256", .required = true, .format = &sha256),
};
static const struct schema file_schema = SCHEMA(struct manifest_file, file_members);

static const struct schema_member manifest_members[] = {
	MEMBER(struct manifest, format, "formatVersion", .required = true),
	MEMBER(struct manifest, kind, "kind", .required = true),
	MEMBER(struct manifest, id, "id", .required = true),
	MEMBER(struct manifest, hull, "hullVersion", .required = true),
	MEMBER(struct manifest, created, "created", .required = true),
	MEMBER(struct manifest, config, "configSha256"),
	MEMBER(struct manifest, pre_dump, "preDump"),
	MEMBER(struct manifest, parent, "parent"),
	MEMBER(struct manifest, parent_digest, "parentManifestSha256"),
	OBJECT(struct manifest, image, "image", image_schema),
	OBJECT(struct manifest, pre_copy, "preCopy", pre_copy_schema),
	OBJECT(struct manifest, host, "host", host_schema, .required = true),
	ARRAY(struct manifest, mounts, "externalMounts", mount_schema),
	MEMBER(struct manifest, stdio, "stdio"),
	MEMBER(struct manifest, joined, "joinedNamespaces"),
	ARRAY(struct manifest, files, "files", file_schema),
};
static const struct schema manifest_schema = SCHEMA(struct manifest, manifest_members);

/* ---- reading and writing -------------------------------------------------------------------------- */

int manifest_parse(const char *text, size_t len, struct arena *arena, struct manifest *manifest,
		   struct error *err)
{
	struct json_value *root;
	uint64_t format;
	int r = json_parse(text, len, arena, &root, err);

	*manifest = (struct manifest){ .format = 0 };
	if (r < 0)
		return error_wrap(err, "`" MANIFEST_NAME "`");
	/* Before all else: of a newer format nothing more is known. */
	if (root->type != JSON_OBJECT || !json_get(root, "formatVersion") ||
	    !json_u64(json_get(root, "formatVersion"), UINT64_MAX, &format))
		return error_set(err, EINVAL, "`" MANIFEST_NAME "` is not that of a checkpoint");
	if (format > MANIFEST_FORMAT)
		return error_set(
			err, ENOTSUP,
			"the checkpoint has format %llu, and this hull knows formats up to "
			"%d: use a newer hull",
			(unsigned long long)format, MANIFEST_FORMAT);
	r = schema_parse(&manifest_schema, root, arena, manifest, err);
	return r < 0 ? error_wrap(err, "`" MANIFEST_NAME "`") : 0;
}

int manifest_load(int dir, struct arena *arena, struct manifest *manifest, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	ssize_t len = file_read(dir, MANIFEST_NAME, MANIFEST_MAX, &text, err);

	if (len == -ENOENT)
		return error_set(err, ENOENT,
				 "it has no `" MANIFEST_NAME
				 "`: it is not a checkpoint of hull's, or it is not complete");
	return len < 0 ? (int)len : manifest_parse(text, (size_t)len, arena, manifest, err);
}

void manifest_print(const struct manifest *manifest, struct strbuf *out)
{
	struct json_writer w;

	json_write_init(&w, out, 2);
	schema_print(&manifest_schema, manifest, &w);
	strbuf_addc(out, '\n');
}

/* ---- the host ----------------------------------------------------------------------------------- */

/* What is behind "NAME : " in the first line of that name; "" where there is none, as on other machines. */
static const char *cpu_line(const char *info, const char *name, struct arena *arena)
{
	size_t len = strlen(name);

	for (const char *line = info; line && *line; line = strchr(line, '\n')) {
		const char *value;

		line += *line == '\n';
		value = line + len;
		if (strncmp(line, name, len) != 0 || !strchr("\t :", *value))
			continue;
		value += strspn(value, "\t :");
		return arena_printf(arena, "%.*s", (int)strcspn(value, "\n"), value);
	}
	return "";
}

int manifest_list_stdio(struct manifest *manifest, pid_t pid, struct arena *arena,
			struct error *err)
{
	const char **names = arena_array(arena, 3, sizeof(*names));

	for (int fd = 0; names && fd < 3; fd++) {
		char path[64], target[PATH_MAX];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		names[fd] = arena_strdup(arena, target);
		if (!names[fd])
			names = NULL;
	}
	if (!names)
		return error_errno(err, ENOMEM, "find the standard streams");
	manifest->stdio = (struct oci_strings){ .items = names, .len = 3 };
	return 0;
}

int manifest_host(struct arena *arena, struct manifest_host *host, struct error *err)
{
	_cleanup_free_ char *info = NULL;
	struct utsname uts;
	ssize_t len = file_read(AT_FDCWD, "/proc/cpuinfo", CPUINFO_MAX, &info, err);

	if (len < 0)
		return (int)len;
	uname(&uts);
	host->kernel = arena_strdup(arena, uts.release);
	host->machine = arena_strdup(arena, uts.machine);
	host->cpu = cpu_line(info, "model name", arena);
	host->flags = cpu_line(info, "flags", arena);
	return host->kernel && host->machine && host->cpu && host->flags
		       ? 0
		       : error_errno(err, ENOMEM, "describe the host");
}

static bool has_word(const char *words, const char *word, size_t len)
{
	for (const char *p = words; (p = strstr(p, word)); p += len)
		if ((p == words || p[-1] == ' ') && (p[len] == ' ' || !p[len]))
			return true;
	return false;
}

/* Instructions; of the other flags most are the kernel's words for what programs never see. */
static const char *const instructions[] = {
	"fpu",
	"cx8",
	"cmov",
	"mmx",
	"fxsr",
	"sse",
	"sse2",
	"pni",
	"ssse3",
	"sse4_1",
	"sse4_2",
	"sse4a",
	"cx16",
	"movbe",
	"popcnt",
	"abm",
	"aes",
	"pclmulqdq",
	"xsave",
	"xsaveopt",
	"xsavec",
	"avx",
	"f16c",
	"fma",
	"fma4",
	"xop",
	"tbm",
	"rdrand",
	"rdseed",
	"rdtscp",
	"rdpid",
	"fsgsbase",
	"bmi1",
	"bmi2",
	"hle",
	"rtm",
	"avx2",
	"adx",
	"clflushopt",
	"clwb",
	"sha_ni",
	"gfni",
	"vaes",
	"vpclmulqdq",
	"avx_vnni",
	"avx512f",
	"avx512dq",
	"avx512ifma",
	"avx512cd",
	"avx512bw",
	"avx512vl",
	"avx512vbmi",
	"avx512_vbmi2",
	"avx512_vnni",
	"avx512_bitalg",
	"avx512_vpopcntdq",
	"avx512_bf16",
	"avx512_fp16",
	"avx512_vp2intersect",
	"amx_tile",
	"amx_int8",
	"amx_bf16",
	"serialize",
	"movdiri",
	"movdir64b",
	"cldemote",
	"waitpkg",
	"user_shstk",
	"pku",
};

int manifest_check_host(const struct manifest_host *then, const struct manifest_host *now,
			struct error *err)
{
	_cleanup_strbuf_ struct strbuf missing = { 0 };

	if (strcmp(then->machine, now->machine) != 0)
		return error_set(err, ENOTSUP,
				 "the checkpoint is of a machine of another kind: %s, and this one "
				 "is %s",
				 then->machine, now->machine);
	for (size_t i = 0; i < ARRAY_SIZE(instructions); i++) {
		size_t len = strlen(instructions[i]);

		if (has_word(then->flags, instructions[i], len) &&
		    !has_word(now->flags, instructions[i], len))
			strbuf_addf(&missing, " %s", instructions[i]);
	}
	if (!missing.len)
		return 0;
	return error_set(err, ENOTSUP,
			 "this host's processor (%s) lacks what that of the checkpoint (%s) has, "
			 "and its processes may use:%s",
			 now->cpu, then->cpu, missing.data);
}
