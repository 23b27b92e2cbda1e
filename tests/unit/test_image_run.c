/* SPDX-License-Identifier: Apache-2.0 */
/* From an image and podman's options to a configuration: what is chosen, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "oci/image/run.h"
#include "tests/unit/image_fixture.h"

#define IMAGE                                                                    \
	"{\"config\":{\"Entrypoint\":[\"/bin/entry\",\"-x\"],\"Cmd\":[\"cmd\"]," \
	"\"Env\":[\"PATH=/bin\",\"A=image\"],\"Volumes\":{\"/vol\":{}}}}"

static struct arena arena;
static struct error err;

#define STRINGS(...)                                            \
	((struct oci_strings){ (const char *[]){ __VA_ARGS__ }, \
			       sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(const char *) })

static int try_run(struct fixture *f, struct image_run run, struct oci_config **config)
{
	struct json_value *root;

	err = (struct error){ 0 };
	if (!run.name)
		run.name = "box";
	assert_int_equal(json_parse(IMAGE, strlen(IMAGE), &arena, &root, &err), 0);
	return image_run_config(&run, root, f->rootfs, &arena, config, &err);
}

static struct oci_config *run_ok(struct fixture *f, struct image_run run)
{
	_cleanup_strbuf_ struct strbuf printed = { 0 };
	struct oci_config *config = NULL, *again;

	if (try_run(f, run, &config) < 0)
		fail_msg("%s", err.text);
	/* Whatever is made can be read again. */
	assert_int_equal(oci_config_print(config, &printed, &err), 0);
	if (oci_config_parse(printed.data, printed.len, &arena, &again, &err) < 0)
		fail_msg("%s", err.text);
	return config;
}

static void expect_refused(struct fixture *f, struct image_run run, const char *why)
{
	struct oci_config *config;

	assert_true(try_run(f, run, &config) < 0);
	if (!strstr(err.text, why))
		fail_msg("`%s` is not in: %s", why, err.text);
}

#define RUN(...)         run_ok(f, (struct image_run){ __VA_ARGS__ })
#define REFUSE(why, ...) expect_refused(f, (struct image_run){ __VA_ARGS__ }, why)

static void expect_args(const struct oci_config *config, const char *joined)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };

	for (size_t i = 0; i < config->process->args.len; i++)
		strbuf_addf(&text, "%s%s", i ? " " : "", config->process->args.items[i]);
	assert_string_equal(text.data, joined);
}

static void commands_and_entrypoints(void **state)
{
	struct fixture *f = *state;

	expect_args(RUN(.name = "box"), "/bin/entry -x cmd");
	expect_args(RUN(.command = STRINGS("a", "b")), "/bin/entry -x a b");
	expect_args(RUN(.entrypoint = "p"), "p");
	expect_args(RUN(.entrypoint = "p", .command = STRINGS("a")), "p a");
	expect_args(RUN(.entrypoint = "[\"p\",\"q r\"]", .command = STRINGS("a")), "p q r a");
	expect_args(RUN(.entrypoint = "", .command = STRINGS("a")), "a");
	REFUSE("what to run", .entrypoint = "");
	REFUSE("--entrypoint", .entrypoint = "[1]x");
	REFUSE("expected strings", .entrypoint = "[1]");
}

static const char *variable(const struct oci_config *config, const char *name)
{
	const struct oci_strings *env = &config->process->env;
	const char *found = NULL;

	for (size_t i = 0; i < env->len; i++)
		if (!strncmp(env->items[i], name, strlen(name)) &&
		    env->items[i][strlen(name)] == '=') {
			assert_null(found); /* no variable twice */
			found = env->items[i] + strlen(name) + 1;
		}
	return found;
}

static void variables(void **state)
{
	struct fixture *f = *state;
	struct oci_config *c;
	char path[300];

	setenv("HULL_TEST_OURS", "ours", 1);
	unsetenv("HULL_TEST_NONE");
	fixture_write(f, "env", "#A=comment\nA=file\n\nB=b=b\nHULL_TEST_NONE\n");
	snprintf(path, sizeof(path), "%s/env", f->dir);
	c = RUN(.env_files = STRINGS(path), .env = STRINGS("A=option", "HULL_TEST_OURS", "C="));
	assert_string_equal(variable(c, "A"), "option");
	assert_string_equal(variable(c, "B"), "b=b");
	assert_string_equal(variable(c, "C"), "");
	assert_string_equal(variable(c, "HULL_TEST_OURS"), "ours");
	assert_null(variable(c, "HULL_TEST_NONE"));
	assert_string_equal(variable(c, "HOSTNAME"), "box");
	assert_string_equal(variable(RUN(.env_files = STRINGS(path)), "A"), "file");
	REFUSE("--env", .env = STRINGS("=x"));
	REFUSE("--env-file", .env_files = STRINGS("/no/such/file"));
	unlinkat(f->fd, "env", 0);
}

static void limits(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *text;
		int64_t quota;
	} cpus[] = {
		{ "1", 100000 },       { "0.5", 50000 }, { ".25", 25000 },
		{ "1.99999", 199999 }, { "2.", 200000 }, { "0.0123456789", 1234 },
	};
	static const char *const wrong[] = { "",   ".",     "x",  "1x",    "1.x",
					     "-1", "1.5.5", "00", "0.001", "65537" };
	struct oci_config *c = RUN(.memory = "64m", .pids_limit = "-1");

	assert_int_equal(c->linux_->resources->memory->limit.v, 64 << 20);
	assert_int_equal(c->linux_->resources->pids->limit, -1);
	assert_int_equal(RUN(.memory = "2G")->linux_->resources->memory->limit.v, (int64_t)2 << 30);
	assert_int_equal(RUN(.memory = "4096B")->linux_->resources->memory->limit.v, 4096);
	for (size_t i = 0; i < ARRAY_SIZE(cpus); i++) {
		c = RUN(.cpus = cpus[i].text);
		assert_int_equal(c->linux_->resources->cpu->quota.v, cpus[i].quota);
		assert_int_equal(c->linux_->resources->cpu->period.v, 100000);
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		REFUSE("--cpus", .cpus = wrong[i]);
	REFUSE("--memory", .memory = "0");
	REFUSE("--memory", .memory = "m");
	REFUSE("--memory", .memory = "9999999999999g");
	REFUSE("--pids-limit", .pids_limit = "-2");
}

static bool has(const struct oci_strings *list, const char *word)
{
	for (size_t i = 0; i < list->len; i++)
		if (!strcmp(list->items[i], word))
			return true;
	return false;
}

static void capabilities(void **state)
{
	struct fixture *f = *state;
	const struct oci_capabilities *caps = RUN(.name = "box")->process->capabilities;

	assert_int_equal(caps->bounding.len, 11);
	assert_true(has(&caps->effective, "CAP_CHOWN"));
	assert_false(has(&caps->bounding, "CAP_SYS_ADMIN"));
	assert_false(has(&caps->bounding, "CAP_NET_RAW"));
	assert_int_equal(caps->inheritable.len, 0);
	caps = RUN(.cap_add = STRINGS("ALL"), .cap_drop = STRINGS("cap_chown"))
		       ->process->capabilities;
	assert_true(has(&caps->bounding, "CAP_CHECKPOINT_RESTORE"));
	assert_false(has(&caps->bounding, "CAP_CHOWN"));
	caps = RUN(.cap_add = STRINGS("kill"), .cap_drop = STRINGS("all"))->process->capabilities;
	assert_int_equal(caps->bounding.len, 1);
	/* Who is not root keeps what was named, and no more. */
	caps = RUN(.user = "7", .cap_add = STRINGS("NET_RAW"))->process->capabilities;
	assert_int_equal(caps->bounding.len, 12);
	assert_int_equal(caps->effective.len, 1);
	assert_string_equal(caps->ambient.items[0], "CAP_NET_RAW");
	caps = RUN(.cap_add = STRINGS("kill,CHOWN"), .cap_drop = STRINGS("net_raw", "all"))
		       ->process->capabilities;
	assert_int_equal(caps->bounding.len, 2);
	REFUSE("both have all", .cap_add = STRINGS("ALL"), .cap_drop = STRINGS("all"));
	REFUSE("--cap-drop", .cap_drop = STRINGS("CAP_"));
}

static bool refuses(const struct oci_seccomp *seccomp, const char *name)
{
	for (size_t i = 0; i < seccomp->syscalls.len; i++)
		if (has(&seccomp->syscalls.items[i].names, name))
			return true;
	return false;
}

static void filters(void **state)
{
	struct fixture *f = *state;
	const struct oci_seccomp *s = RUN(.name = "box")->linux_->seccomp;

	assert_true(refuses(s, "bpf") && refuses(s, "mount") && refuses(s, "clone3"));
	assert_false(refuses(s, "openat"));
	s = RUN(.cap_add = STRINGS("BPF"))->linux_->seccomp;
	assert_false(refuses(s, "bpf"));
	assert_true(refuses(s, "mount"));
	s = RUN(.cap_add = STRINGS("SYS_ADMIN"))->linux_->seccomp;
	assert_false(refuses(s, "mount") || refuses(s, "clone"));
	assert_true(refuses(s, "keyctl"));
	assert_null(RUN(.security = STRINGS("seccomp=unconfined"))->linux_->seccomp);
	assert_true(RUN(.security = STRINGS("no-new-privileges"))->process->no_new_privileges.v);
	assert_false(RUN(.name = "box")->process->no_new_privileges.v);
	REFUSE("--security-opt", .security = STRINGS("apparmor=x"));
	REFUSE("--security-opt", .security = STRINGS("seccomp=/no/such"));
}

static const struct oci_mount *mount_at(const struct oci_config *config, const char *place)
{
	const struct oci_mount *found = NULL;

	for (size_t i = 0; i < config->mounts.len; i++)
		if (!strcmp(config->mounts.items[i].destination, place)) {
			assert_null(found);
			found = &config->mounts.items[i];
		}
	return found;
}

static void mounts(void **state)
{
	struct fixture *f = *state;
	struct oci_config *c;
	char volume[400], real[300];

	snprintf(real, sizeof(real), "%s/outside", f->dir);
	snprintf(volume, sizeof(volume), "%s/../outside:/mnt:ro,z,noexec", real);
	c = RUN(.volumes = STRINGS(volume), .tmpfs = STRINGS("/t:size=1m,exec"));
	assert_string_equal(mount_at(c, "/mnt")->source, real);
	assert_true(has(&mount_at(c, "/mnt")->options, "ro"));
	assert_true(has(&mount_at(c, "/mnt")->options, "nosuid"));
	assert_false(has(&mount_at(c, "/mnt")->options, "z"));
	assert_true(has(&mount_at(c, "/t")->options, "size=1m"));
	/* A volume of the image is the container's own directory, or a copy where that cannot be written. */
	assert_null(mount_at(c, "/vol"));
	assert_null(mount_at(c, "/tmp"));
	c = RUN(.read_only = true);
	assert_true(has(&mount_at(c, "/vol")->options, "tmpcopyup"));
	assert_non_null(mount_at(c, "/tmp"));
	assert_true(c->root->readonly.v);
	/* What is given counts more than what is usual. */
	snprintf(volume, sizeof(volume), "%s:/tmp", real);
	assert_string_equal(
		mount_at(RUN(.read_only = true, .volumes = STRINGS(volume)), "/tmp")->type, "bind");
	REFUSE("--volume", .volumes = STRINGS("/"));
	REFUSE("--volume", .volumes = STRINGS(":/x"));
	REFUSE("no volumes with names", .volumes = STRINGS("name:/x"));
	REFUSE("owners of files", .volumes = STRINGS("/:/x:U"));
	REFUSE("no place", .volumes = STRINGS("/:/"));
	REFUSE("no place", .tmpfs = STRINGS("t"));
}

static bool has_namespace(const struct oci_config *config, enum oci_namespace_type type)
{
	return oci_namespace_find(config, type) != NULL;
}

static void names_and_networks(void **state)
{
	struct fixture *f = *state;
	char longer[80];
	struct oci_config *c;

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(strlen(RUN(.name = longer)->hostname), 64);
	assert_string_equal(RUN(.hostname = "a.b")->hostname, "a.b");
	assert_true(has_namespace(RUN(.network = "none"), OCI_NS_NETWORK));
	assert_false(has_namespace(RUN(.network = "host"), OCI_NS_NETWORK));
	c = RUN(.rootless = true);
	assert_true(has_namespace(c, OCI_NS_NETWORK));
	assert_string_equal(mount_at(c, "/sys")->type, "sysfs");
	c = RUN(.annotations = STRINGS("a=b=c", "run.hull.sandbox=microvm", "a=d"));
	assert_string_equal(oci_annotation(c, "a"), "d");
	assert_string_equal(oci_annotation(c, "run.hull.sandbox"), "microvm");
	REFUSE("--hostname", .hostname = "");
	REFUSE("--hostname", .hostname = longer);
	REFUSE("--network", .network = "bridge");
	REFUSE("--annotation", .annotations = STRINGS("=b"));
	REFUSE("--workdir", .workdir = "tmp");
	REFUSE("--user", .user = "nobody");
}

/* What is written goes through the image's links, but never out of it, and never into what is no file. */
static void files_in_the_tree(void **state)
{
	struct fixture *f = *state;
	const char image[] = "{\"config\":{\"Volumes\":{\"/a/b\":{},\"../../../outside/c\":{}}}}";
	const struct image_run run = { .name = "box" };
	struct oci_config *c = RUN(.name = "box");
	struct json_value *root;
	char path[300];

	assert_int_equal(json_parse(image, strlen(image), &arena, &root, &err), 0);
	fixture_mkdir(f, "root/etc");
	snprintf(path, sizeof(path), "%s/outside/file", f->dir);
	assert_int_equal(symlinkat(path, f->fd, "root/etc/hosts"), 0);
	assert_int_equal(mkfifoat(f->fd, "root/etc/hostname", 0644), 0);
	if (image_run_fill_tree(&run, root, c, f->rootfs, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(S_ISFIFO(fixture_stat(f, "root/etc/hostname").st_mode));
	assert_true(S_ISDIR(fixture_stat(f, "root/a/b").st_mode));
	snprintf(path, sizeof(path), "root%s/outside/file", f->dir);
	assert_non_null(strstr(fixture_read(f, path), "127.0.1.1\tbox\n"));
}

static int setup(void **state)
{
	arena_init(&arena, (size_t)64 << 20);
	return fixture_setup(state);
}

static int teardown(void **state)
{
	arena_free(&arena);
	return fixture_teardown(state);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(commands_and_entrypoints),
		TEST(variables),
		TEST(limits),
		TEST(capabilities),
		TEST(filters),
		TEST(mounts),
		TEST(names_and_networks),
		TEST(files_in_the_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
