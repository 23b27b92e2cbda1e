/* SPDX-License-Identifier: Apache-2.0 */
/* From an image's configuration and the options of who runs it to a config.json; see run.h. */
#include "oci/image/run.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/number.h"
#include "oci/capability.h"
#include "oci/image/config_image.h"
#include "oci/image/user.h"

#define ENV_FILE_MAX ((size_t)1 << 20) /* bytes */
#define CPU_PERIOD   100000            /* microseconds: the kernel's and all engines' */
#define HOSTNAME_LEN 64                /* bytes (sethostname(2)) */
#define FILES_SOFT   1024   /* RLIMIT_NOFILE: what select(2) and old programs expect … */
#define FILES_HARD   524288 /* … and what servers may raise it to */

struct running {
	const struct image_run *run;
	const struct json_value *image_config; /* its member "config"; NULL where it is absent */
	int tree;
	struct oci_config *out;
	struct arena *arena;
};

static int no_memory(struct error *err)
{
	return error_errno(err, ENOMEM, "make the configuration");
}

/* A copy of a list with room for more. */
static bool grow_strings(struct arena *arena, struct oci_strings *list, size_t more)
{
	const char **items = arena_array(arena, list->len + more + 1, sizeof(*items));

	if (items && list->len)
		memcpy(items, list->items, list->len * sizeof(*items));
	list->items = items;
	return items;
}

/* ---- what runs ------------------------------------------------------------------------------ */

static int add_words(struct oci_strings *args, const struct json_value *words, const char *what,
		     struct error *err)
{
	for (const struct json_value *w = words && words->type == JSON_ARRAY ? words->child : NULL;
	     w; w = w->next) {
		if (w->type != JSON_STRING)
			return error_set(err, EINVAL, "%s: expected strings, found %s", what,
					 json_type_name(w->type));
		args->items[args->len++] = w->string;
	}
	return 0;
}

/* "PROGRAM", or a JSON array of words. */
static int parse_entrypoint(struct running *c, const struct json_value **words, struct error *err)
{
	const char *text = c->run->entrypoint;
	struct json_value *array;
	int r;

	*words = NULL;
	if (*text != '[')
		return 0;
	r = json_parse(text, strlen(text), c->arena, &array, err);
	if (r >= 0 && array->type != JSON_ARRAY)
		r = error_set(err, EINVAL, "is no array");
	*words = array;
	return r < 0 ? error_wrap(err, "option --entrypoint") : 0;
}

static int set_args(struct running *c, struct error *err)
{
	const struct json_value *entrypoint =
		c->image_config ? json_get(c->image_config, "Entrypoint") : NULL;
	const struct json_value *cmd = c->image_config ? json_get(c->image_config, "Cmd") : NULL;
	const struct oci_strings *command = &c->run->command;
	const char *program = c->run->entrypoint;
	struct oci_strings args = { NULL, 0 };
	int r = 0;

	if (program) {
		r = parse_entrypoint(c, &entrypoint, err);
		cmd = NULL;
	}
	if (r < 0)
		return r;
	if (!grow_strings(c->arena, &args,
			  2 + command->len + (entrypoint ? entrypoint->children : 0) +
				  (cmd ? cmd->children : 0)))
		return no_memory(err);
	if (program && *program && !entrypoint)
		args.items[args.len++] = program;
	r = add_words(&args, entrypoint, "Entrypoint", err);
	for (size_t i = 0; i < command->len; i++)
		args.items[args.len++] = command->items[i];
	if (r >= 0 && !command->len)
		r = add_words(&args, cmd, "Cmd", err);
	if (r >= 0 && !args.len)
		r = error_set(err, EINVAL,
			      "the image does not say what to run: give a command behind its name");
	c->out->process->args = args;
	return r;
}

/* Sets a variable, in the place of one of that name. The list has room. */
static void set_variable(struct oci_strings *env, const char *entry)
{
	size_t len = strcspn(entry, "=") + 1;

	for (size_t i = 0; i < env->len; i++)
		if (!strncmp(env->items[i], entry, len)) {
			env->items[i] = entry;
			return;
		}
	env->items[env->len++] = entry;
}

/* "NAME=VALUE", or "NAME": the caller's, and nothing where it has none. */
static int add_variable(struct running *c, const char *text, struct error *err)
{
	const char *value;

	if (!*text || *text == '=')
		return error_set(err, EINVAL, "`%.100s` is no variable: give NAME=VALUE or NAME",
				 text);
	if (!strchr(text, '=')) {
		value = getenv(text);
		if (!value)
			return 0;
		text = arena_printf(c->arena, "%s=%s", text, value);
		if (!text)
			return no_memory(err);
	}
	set_variable(&c->out->process->env, text);
	return 0;
}

static int add_env_file(struct running *c, const char *path, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	ssize_t len = file_read(AT_FDCWD, path, ENV_FILE_MAX, &text, err);
	size_t lines = 1;
	char *line, *rest;
	int r = 0;

	if (len < 0)
		return (int)len;
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	if (!grow_strings(c->arena, &c->out->process->env, lines))
		return no_memory(err);
	rest = text;
	while (r >= 0 && (line = strsep(&rest, "\n"))) {
		if (!*line || *line == '#')
			continue;
		line = arena_strdup(c->arena, line);
		r = line ? add_variable(c, line, err) : no_memory(err);
	}
	return r;
}

static int set_env(struct running *c, struct error *err)
{
	const struct image_run *run = c->run;
	const char *hostname = arena_printf(c->arena, "HOSTNAME=%s", c->out->hostname);
	int r = 0;

	if (!hostname || !grow_strings(c->arena, &c->out->process->env, run->env.len + 1))
		return no_memory(err);
	set_variable(&c->out->process->env, hostname);
	for (size_t i = 0; i < run->env_files.len && r >= 0; i++)
		if ((r = add_env_file(c, run->env_files.items[i], err)) < 0)
			return error_wrap(err, "option --env-file: `%s`", run->env_files.items[i]);
	if (!grow_strings(c->arena, &c->out->process->env, run->env.len))
		return no_memory(err);
	for (size_t i = 0; i < run->env.len && r >= 0; i++)
		if ((r = add_variable(c, run->env.items[i], err)) < 0)
			return error_wrap(err, "option --env");
	return r;
}

/* No more than our own hard limit, which not everybody may raise. */
static int set_files_limit(struct running *c, struct error *err)
{
	struct oci_rlimits *limits = &c->out->process->rlimits;
	struct rlimit own;

	if (getrlimit(RLIMIT_NOFILE, &own) < 0)
		return error_errno(err, errno, "getrlimit");
	limits->items = arena_new(c->arena, struct oci_rlimit);
	if (!limits->items)
		return no_memory(err);
	limits->len = 1;
	limits->items->type = "RLIMIT_NOFILE";
	limits->items->hard = own.rlim_max < FILES_HARD ? own.rlim_max : FILES_HARD;
	limits->items->soft = limits->items->hard < FILES_SOFT ? limits->items->hard : FILES_SOFT;
	return 0;
}

static int set_process(struct running *c, struct error *err)
{
	struct oci_process *p = c->out->process;
	int r = set_files_limit(c, err);

	if (r < 0)
		return r;
	p->terminal = (struct opt_bool){ true, c->run->tty };
	p->no_new_privileges = (struct opt_bool){ true, false };
	if (c->run->workdir && c->run->workdir[0] != '/')
		return error_set(err, EINVAL, "option --workdir: `%s` is not an absolute path",
				 c->run->workdir);
	if (c->run->workdir)
		p->cwd = c->run->workdir;
	if (c->run->user)
		r = image_user_resolve(c->tree, c->run->user, c->arena, p->user, err);
	return r < 0 ? error_wrap(err, "option --user") : 0;
}

/* ---- what it may do ------------------------------------------------------------------------- */

#define CAPABILITY(number) (1ULL << (number))
#define ALL_CAPABILITIES   (CAPABILITY(CAPABILITIES) - 1)

/* What podman gives: enough to install packages, to change users and to serve low ports; not to reach the host. */
static const uint64_t usual_capabilities =
	CAPABILITY(CAP_CHOWN) | CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_FOWNER) |
	CAPABILITY(CAP_FSETID) | CAPABILITY(CAP_KILL) | CAPABILITY(CAP_SETGID) |
	CAPABILITY(CAP_SETUID) | CAPABILITY(CAP_SETPCAP) | CAPABILITY(CAP_NET_BIND_SERVICE) |
	CAPABILITY(CAP_SYS_CHROOT) | CAPABILITY(CAP_SETFCAP);

/* "CAP_CHOWN", "chown", "ALL" as bits. */
static int parse_capability(const char *option, const char *text, uint64_t *set, struct error *err)
{
	char name[64];
	int number;

	if (!strcasecmp(text, "ALL")) {
		*set = ALL_CAPABILITIES;
		return 0;
	}
	snprintf(name, sizeof(name), "%s%s", strncasecmp(text, "CAP_", 4) ? "CAP_" : "", text);
	number = capability_find(name);
	if (number < 0)
		return error_set(err, EINVAL, "option --%s: `%s` is no capability", option, text);
	*set = CAPABILITY(number);
	return 0;
}

static int sum_capabilities(const char *option, const struct oci_strings *list, uint64_t *sum,
			    struct error *err)
{
	*sum = 0;
	for (size_t i = 0; i < list->len; i++) {
		_cleanup_free_ char *copy = strdup(list->items[i]);
		char *rest = copy, *word;

		if (!copy)
			return no_memory(err);
		while ((word = strsep(&rest, ","))) {
			uint64_t set;
			int r = parse_capability(option, word, &set, err);

			if (r < 0)
				return r;
			*sum |= set;
		}
	}
	return 0;
}

static int list_capabilities(struct running *c, uint64_t set, struct oci_strings *list,
			     struct error *err)
{
	*list = (struct oci_strings){ NULL, 0 };
	if (!grow_strings(c->arena, list, CAPABILITIES))
		return no_memory(err);
	for (int n = 0; n < CAPABILITIES; n++)
		if (set & CAPABILITY(n))
			list->items[list->len++] = capability_name(n);
	return 0;
}

/* Who is not root keeps only what was asked for by name, and over execve(2). */
static int set_capabilities(struct running *c, struct error *err)
{
	struct oci_capabilities *caps = c->out->process->capabilities;
	bool root = !c->out->process->user->uid.v;
	uint64_t add, drop, bounding, now;
	int r = sum_capabilities("cap-add", &c->run->cap_add, &add, err);

	if (r >= 0)
		r = sum_capabilities("cap-drop", &c->run->cap_drop, &drop, err);
	if (r < 0)
		return r;
	if (add == ALL_CAPABILITIES && drop == ALL_CAPABILITIES)
		return error_set(err, EINVAL,
				 "options --cap-add and --cap-drop: both have all capabilities");
	/* `--cap-drop ALL --cap-add X` leaves X; else what is dropped is dropped. */
	bounding = drop == ALL_CAPABILITIES ? add : (usual_capabilities | add) & ~drop;
	now = root ? bounding : add & bounding;
	*caps = (struct oci_capabilities){ .ambient = { NULL, 0 } };
	r = list_capabilities(c, bounding, &caps->bounding, err);
	if (r >= 0)
		r = list_capabilities(c, now, &caps->permitted, err);
	caps->effective = caps->permitted;
	if (!root) {
		caps->inheritable = caps->permitted;
		caps->ambient = caps->permitted;
	}
	return r;
}

/* What tells of other containers' work by its timing or its power, beside what a bundle's configuration hides. */
static int mask_more(struct running *c, struct error *err)
{
	static const char *const paths[] = { "/proc/interrupts", "/sys/devices/virtual/powercap" };
	struct oci_strings *masked = &c->out->linux_->masked_paths;

	if (!grow_strings(c->arena, masked, ARRAY_SIZE(paths)))
		return no_memory(err);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		masked->items[masked->len++] = paths[i];
	return 0;
}

static int set_security(struct running *c, struct error *err)
{
	const struct oci_strings *options = &c->run->security;
	struct oci_linux *l = c->out->linux_;
	bool unconfined = false;
	int r = 0;

	for (size_t i = 0; i < options->len && r >= 0; i++) {
		const char *o = options->items[i];

		if (!strcmp(o, "no-new-privileges") || !strcmp(o, "no-new-privileges=true") ||
		    !strcmp(o, "no-new-privileges:true"))
			c->out->process->no_new_privileges.v = true;
		else if (!strcmp(o, "seccomp=unconfined"))
			unconfined = true;
		else if (!strncmp(o, "seccomp=", 8))
			r = image_run_load_seccomp(o + 8, c->arena, &l->seccomp, err);
		else
			return error_set(err, EINVAL,
					 "option --security-opt: `%s`: give no-new-privileges, "
					 "seccomp=unconfined or seccomp=FILE",
					 o);
	}
	if (r >= 0)
		r = mask_more(c, err);
	if (r < 0 || unconfined || l->seccomp)
		return r;
	l->seccomp = image_run_seccomp(&c->out->process->capabilities->bounding, c->arena);
	return l->seccomp ? 0 : no_memory(err);
}

/* ---- mounts --------------------------------------------------------------------------------- */

/* A mount at this place, in the place of the one that is there. */
static struct oci_mount *place_mount(struct running *c, const char *destination)
{
	struct oci_mounts *mounts = &c->out->mounts;
	struct oci_mount *items;

	for (size_t i = 0; i < mounts->len; i++)
		if (!strcmp(mounts->items[i].destination, destination))
			return &mounts->items[i];
	items = arena_array(c->arena, mounts->len + 1, sizeof(*items));
	if (!items)
		return NULL;
	if (mounts->len)
		memcpy(items, mounts->items, mounts->len * sizeof(*items));
	mounts->items = items;
	items[mounts->len].destination = destination;
	return &items[mounts->len++];
}

/* Adds the words of "a,b,c" to a list. */
static bool split_options(struct running *c, const char *text, struct oci_strings *list)
{
	char *copy = arena_strdup(c->arena, text), *word;
	size_t words = 1;

	for (const char *p = text; *p; p++)
		words += *p == ',';
	if (!copy || !grow_strings(c->arena, list, words))
		return false;
	while ((word = strsep(&copy, ",")))
		if (*word)
			list->items[list->len++] = word;
	return true;
}

static int set_mount(struct running *c, const char *destination, const struct oci_mount *mount,
		     const char *const *options, size_t count, const char *more, struct error *err)
{
	size_t len = strlen(destination);
	struct oci_mount *m;

	while (len > 1 && destination[len - 1] == '/')
		len--;
	destination = arena_printf(c->arena, "%.*s", (int)len, destination);
	if (!destination)
		return no_memory(err);
	if (destination[0] != '/' || !destination[1])
		return error_set(err, EINVAL,
				 "`%s` is no place for a mount: give an absolute path other than /",
				 destination);
	m = place_mount(c, destination);
	if (!m)
		return no_memory(err);
	*m = *mount;
	m->destination = destination;
	if (!grow_strings(c->arena, &m->options, count))
		return no_memory(err);
	for (size_t i = 0; i < count; i++)
		m->options.items[m->options.len++] = options[i];
	return split_options(c, more, &m->options) ? 0 : no_memory(err);
}

/* Labels that this host may not have (z, Z), and what would change the host's files (U), which is refused. */
static int check_volume_options(struct running *c, const char *text, char **kept, struct error *err)
{
	char *copy = arena_strdup(c->arena, text), *word;
	_cleanup_strbuf_ struct strbuf out = { 0 };

	while (copy && (word = strsep(&copy, ","))) {
		if (!strcmp(word, "U"))
			return error_set(err, EINVAL,
					 "option `U` would change the owners of files on the host: "
					 "use chown(1), or `idmap`");
		if (!*word || !strcmp(word, "z") || !strcmp(word, "Z"))
			continue;
		if (c->run->known_option && !c->run->known_option(word))
			return error_set(err, EINVAL,
					 "option `%s` is unknown (an overlay, `O`, is an engine's)",
					 word);
		strbuf_addf(&out, "%s%s", out.len ? "," : "", word);
	}
	*kept = arena_strdup(c->arena, out.data ? out.data : "");
	return *kept && !strbuf_failed(&out) ? 0 : no_memory(err);
}

static int add_volume(struct running *c, const char *text, struct error *err)
{
	static const char *const usual[] = { "rbind", "rprivate", "nosuid", "nodev" };
	char *source = arena_strdup(c->arena, text), *rest = source, *destination, *kept, *real;
	struct oci_mount mount = { .type = "bind" };
	int r;

	if (!source)
		return no_memory(err);
	source = strsep(&rest, ":");
	destination = strsep(&rest, ":");
	if (!*source || !destination)
		return error_set(err, EINVAL, "give SOURCE:DESTINATION[:OPTIONS]");
	if (!strchr(source, '/') && strcmp(source, ".") != 0 && strcmp(source, "..") != 0)
		return error_set(err, EINVAL,
				 "there are no volumes with names here: give a path, as ./%s",
				 source);
	r = check_volume_options(c, rest ? rest : "", &kept, err);
	if (r < 0)
		return r;
	real = realpath(source, NULL);
	if (!real)
		return error_errno(err, errno, "find `%s`", source);
	mount.source = arena_strdup(c->arena, real);
	free(real);
	return mount.source ? set_mount(c, destination, &mount, usual, ARRAY_SIZE(usual), kept, err)
			    : no_memory(err);
}

static const struct oci_mount tmpfs = { .type = "tmpfs", .source = "tmpfs" };

static int add_tmpfs(struct running *c, const char *text, struct error *err)
{
	static const char *const usual[] = { "nosuid", "nodev", "noexec", "tmpcopyup" };
	char *destination = arena_strdup(c->arena, text), *options;

	if (!destination)
		return no_memory(err);
	options = strchr(destination, ':');
	if (options)
		*options++ = '\0';
	return set_mount(c, destination, &tmpfs, usual, ARRAY_SIZE(usual), options ? options : "",
			 err);
}

/* What programs expect to be able to write, though the root is read-only. */
static int add_scratch(struct running *c, struct error *err)
{
	static const char *const places[] = { "/run", "/tmp", "/var/tmp" };
	static const char *const usual[] = { "nosuid", "nodev", "tmpcopyup" };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(places) && r >= 0; i++)
		r = set_mount(c, places[i], &tmpfs, usual, ARRAY_SIZE(usual),
			      i ? "mode=1777" : "mode=755", err);
	return r;
}

/*
 * The image's volumes are empty tmpfs so far. What lives as long as the container may as well be in its writable layer, where
 * the image's files and owners are; else it begins as a copy of what the image has.
 */
static int set_volumes(struct running *c, struct error *err)
{
	static const char *const usual[] = { "nosuid", "nodev", "tmpcopyup" };
	const struct json_value *volumes =
		c->image_config ? json_get(c->image_config, "Volumes") : NULL;
	struct oci_mounts *mounts = &c->out->mounts;
	size_t kept = 0;

	for (size_t i = 0; i < mounts->len; i++) {
		struct oci_mount *m = &mounts->items[i];
		bool is_volume = volumes && json_get(volumes, m->destination) &&
				 !strcmp(m->type, "tmpfs") && !strcmp(m->source, "tmpfs");

		if (is_volume && c->run->read_only &&
		    set_mount(c, m->destination, &tmpfs, usual, ARRAY_SIZE(usual), "", err) < 0)
			return -err->code;
		if (!is_volume || c->run->read_only)
			mounts->items[kept++] = *m;
	}
	mounts->len = kept;
	return 0;
}

static size_t depth(const struct oci_mount *mount)
{
	size_t n = 0;

	for (const char *p = mount->destination; *p; p++)
		n += *p == '/' && p[1] && p[1] != '/';
	return n;
}

/* What is above comes first, or it would hide what is below; else in the order in which they were given. */
static void sort_mounts(struct oci_mounts *mounts)
{
	for (size_t i = 1; i < mounts->len; i++) {
		struct oci_mount mount = mounts->items[i];
		size_t k = i;

		for (; k > 0 && depth(&mounts->items[k - 1]) > depth(&mount); k--)
			mounts->items[k] = mounts->items[k - 1];
		mounts->items[k] = mount;
	}
}

static int set_mounts(struct running *c, struct error *err)
{
	const struct image_run *run = c->run;
	int r = set_volumes(c, err);

	c->out->root->readonly = (struct opt_bool){ true, run->read_only };
	if (r >= 0 && run->read_only)
		r = add_scratch(c, err);
	for (size_t i = 0; i < run->tmpfs.len && r >= 0; i++)
		if ((r = add_tmpfs(c, run->tmpfs.items[i], err)) < 0)
			error_wrap(err, "option --tmpfs `%s`", run->tmpfs.items[i]);
	for (size_t i = 0; i < run->volumes.len && r >= 0; i++)
		if ((r = add_volume(c, run->volumes.items[i], err)) < 0)
			error_wrap(err, "option --volume `%s`", run->volumes.items[i]);
	sort_mounts(&c->out->mounts);
	return r;
}

/* ---- limits, network, names ------------------------------------------------------------------- */

/* "1.5" as microseconds a period. */
static int parse_cpus(const char *text, int64_t *quota, struct error *err)
{
	size_t whole = strcspn(text, "."), scale = CPU_PERIOD;
	const char *fraction = text[whole] ? text + whole + 1 : "";
	uint64_t cpus = 0, part = 0;

	for (const char *p = fraction; *p >= '0' && *p <= '9' && scale >= 10; p++) {
		scale /= 10;
		part += (uint64_t)(*p - '0') * scale;
	}
	if ((whole && !parse_u64_n(text, whole, 65536, &cpus)) ||
	    strspn(fraction, "0123456789") != strlen(fraction) || (!whole && !*fraction))
		return error_set(err, EINVAL, "option --cpus: `%s` is no number, as 1.5", text);
	*quota = (int64_t)(cpus * CPU_PERIOD + part);
	/* cpu.max(5): the kernel takes no less than a millisecond. */
	if (*quota < 1000)
		return error_set(err, EINVAL, "option --cpus: `%s` is less than 0.01", text);
	return 0;
}

static int set_memory(struct running *c, struct oci_resources *resources, struct error *err)
{
	uint64_t bytes;

	if (!c->run->memory)
		return 0;
	if (!parse_size(c->run->memory, INT64_MAX, &bytes) || !bytes)
		return error_set(err, EINVAL,
				 "option --memory: `%s` is no size: give bytes, or as 512m or 2g",
				 c->run->memory);
	resources->memory = arena_new(c->arena, struct oci_memory);
	if (!resources->memory)
		return no_memory(err);
	resources->memory->limit = (struct opt_i64){ true, (int64_t)bytes };
	return 0;
}

static int set_limits(struct running *c, struct error *err)
{
	struct oci_resources *resources = c->out->linux_->resources;
	int r;

	if (!resources)
		resources = c->out->linux_->resources = arena_new(c->arena, struct oci_resources);
	if (!resources)
		return no_memory(err);
	r = set_memory(c, resources, err);
	if (r >= 0 && c->run->cpus && strcmp(c->run->cpus, "0") != 0) {
		resources->cpu = arena_new(c->arena, struct oci_cpu);
		if (!resources->cpu)
			return no_memory(err);
		resources->cpu->period = (struct opt_u64){ true, CPU_PERIOD };
		resources->cpu->quota.set = true;
		r = parse_cpus(c->run->cpus, &resources->cpu->quota.v, err);
	}
	if (r < 0 || !c->run->pids_limit)
		return r;
	resources->pids = arena_new(c->arena, struct oci_pids);
	if (!resources->pids)
		return no_memory(err);
	if (!parse_i64(c->run->pids_limit, &resources->pids->limit) || resources->pids->limit < -1)
		return error_set(err, EINVAL, "option --pids-limit: `%s` is no number, nor -1",
				 c->run->pids_limit);
	return 0;
}

/* A sysfs shows the devices of the network namespace that it is mounted from. */
static int own_sysfs(struct running *c, struct error *err)
{
	static const char *const options[] = { "nosuid", "noexec", "nodev", "ro" };
	static const struct oci_mount sysfs = { .type = "sysfs", .source = "sysfs" };

	return set_mount(c, "/sys", &sysfs, options, ARRAY_SIZE(options), "", err);
}

/* Whoever is in a user namespace cannot mount one of the host's network. */
static int host_sysfs(struct running *c, struct error *err)
{
	static const char *const options[] = { "rbind", "nosuid", "noexec", "nodev", "ro" };
	static const struct oci_mount sysfs = { .type = "none", .source = "/sys" };

	return set_mount(c, "/sys", &sysfs, options, ARRAY_SIZE(options), "", err);
}

static int set_network(struct running *c, struct error *err)
{
	struct oci_namespaces *list = &c->out->linux_->namespaces;
	struct oci_namespace *items = arena_array(c->arena, list->len + 2, sizeof(*items));
	size_t n = 0;

	if (c->run->network && strcmp(c->run->network, "none") != 0 &&
	    !image_run_on_host_network(c->run))
		return error_set(err, EINVAL,
				 "option --network: `%s`: give none (the loopback device only) or "
				 "host; networks are an engine's",
				 c->run->network);
	if (!items)
		return no_memory(err);
	for (size_t i = 0; i < list->len; i++)
		if (list->items[i].type != OCI_NS_NETWORK)
			items[n++] = list->items[i];
	if (!image_run_on_host_network(c->run))
		items[n++] = (struct oci_namespace){ .type = OCI_NS_NETWORK };
	*list = (struct oci_namespaces){ items, n };
	if (!c->run->rootless && !c->run->uids)
		return 0;
	return image_run_on_host_network(c->run) ? host_sysfs(c, err) : own_sysfs(c, err);
}

/* The one that the image's files belong to, as they are mapped for the caller. set_network() has left room for it. */
static int set_user_namespace(struct running *c, struct error *err _unused_)
{
	struct oci_linux *l = c->out->linux_;
	const struct oci_namespace *ns = oci_namespace_find(c->out, OCI_NS_USER);

	if (c->run->uids) {
		if (!ns)
			l->namespaces.items[l->namespaces.len++] =
				(struct oci_namespace){ .type = OCI_NS_USER };
		l->uid_mappings = *c->run->uids;
		l->gid_mappings = *c->run->gids;
	}
	if (ns && c->run->user_namespace) {
		l->namespaces.items[ns - l->namespaces.items].path = c->run->user_namespace;
		l->uid_mappings.len = l->gid_mappings.len = 0;
	}
	return 0;
}

static int set_names(struct running *c, struct error *err)
{
	const char *name = c->run->hostname ? c->run->hostname : c->run->name;

	if (c->run->hostname && (!*name || strlen(name) > HOSTNAME_LEN ||
				 strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					      "0123456789-._") != strlen(name)))
		return error_set(err, EINVAL,
				 "option --hostname: `%.100s`: give at most %d letters, digits, "
				 "dots and dashes",
				 name, HOSTNAME_LEN);
	c->out->hostname = arena_printf(c->arena, "%.*s", HOSTNAME_LEN, name);
	return c->out->hostname ? 0 : no_memory(err);
}

static int set_annotations(struct running *c, struct error *err)
{
	struct oci_map *map = &c->out->annotations;
	const struct oci_strings *list = &c->run->annotations;
	struct oci_map_entry *items =
		arena_array(c->arena, map->len + list->len + 1, sizeof(*items));
	size_t n = map->len;

	if (!items)
		return no_memory(err);
	if (n)
		memcpy(items, map->items, n * sizeof(*items));
	for (size_t i = 0; i < list->len; i++) {
		char *key = arena_strdup(c->arena, list->items[i]), *value;
		size_t k = 0;

		if (!key)
			return no_memory(err);
		value = strchr(key, '=');
		if (!value || value == key)
			return error_set(err, EINVAL,
					 "option --annotation: `%.100s`: give KEY=VALUE",
					 list->items[i]);
		*value++ = '\0';
		while (k < n && strcmp(items[k].key, key) != 0)
			k++;
		items[k] = (struct oci_map_entry){ key, value };
		n += k == n;
	}
	*map = (struct oci_map){ items, n };
	return 0;
}

int image_run_config(const struct image_run *run, const struct json_value *image, int tree,
		     struct arena *arena, struct oci_config **config, struct error *err)
{
	static int (*const steps[])(struct running * c, struct error * err) = {
		set_names,          set_args,   set_env,    set_process,     set_capabilities,
		set_security,       set_mounts, set_limits, set_annotations, set_network,
		set_user_namespace,
	};
	struct running c = { .run = run, .tree = tree, .arena = arena };
	int r = image_config_convert(image, tree, run->rootless, arena, &c.out, err);

	if (r < 0)
		return r;
	c.image_config = json_get(image, "config");
	if (c.image_config && c.image_config->type != JSON_OBJECT)
		c.image_config = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(steps) && r >= 0; i++)
		r = steps[i](&c, err);
	*config = c.out;
	return r < 0 ? r : 0;
}
