/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conversion of conversion.md, a function a subject. The image's author writes this
 * configuration, and the person who unpacks it trusts the machine's own defaults: so the image may say what
 * runs in the container, and never what the container may do.
 */
#include "oci/image/config_image.h"

#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "oci/image/user.h"
#include "oci/spec.h"

#define ANNOTATION "org.opencontainers.image."

/*
 * Labels that a runtime would obey: as annotations they would let an image choose its own isolation, run
 * hooks or set properties of systemd's. conversion.md, "Annotations", allows to leave them out, with a word to the user.
 */
static const char *const unsafe_labels[] = {
	"run.hull.",
	"run.oci.",
	"org.criu.",
	"org.systemd.property.",
};

struct conversion {
	const struct json_value *image;  /* the whole */
	const struct json_value *config; /* its member "config"; NULL where it is absent */
	struct oci_config *out;
	struct arena *arena;
};

static int no_memory(struct error *err)
{
	return error_errno(err, ENOMEM, "convert the image's configuration");
}

/* A member of the wanted type, or *value NULL where it is absent or null (as Go writes what is empty). */
static int member(const struct json_value *object, const char *key, enum json_type type,
		  const struct json_value **value, struct error *err)
{
	*value = object ? json_get(object, key) : NULL;
	if (*value && (*value)->type == JSON_NULL)
		*value = NULL;
	if (*value && (*value)->type != type)
		return error_set(err, EINVAL, "image configuration: `%s`: expected %s, found %s",
				 key, json_type_name(type), json_type_name((*value)->type));
	return 0;
}

static int string_member(const struct json_value *object, const char *key, const char **s,
			 struct error *err)
{
	const struct json_value *value;
	int r = member(object, key, JSON_STRING, &value, err);

	*s = value ? value->string : NULL;
	return r;
}

/* Adds an array of strings to a list that has room for it. */
static int add_strings(const struct json_value *array, const char *key, struct oci_strings *list,
		       struct error *err)
{
	for (const struct json_value *v = array ? array->child : NULL; v; v = v->next) {
		if (v->type != JSON_STRING)
			return error_set(err, EINVAL,
					 "image configuration: `%s`: expected strings, found %s",
					 key, json_type_name(v->type));
		list->items[list->len++] = v->string;
	}
	return 0;
}

static int convert_args(struct conversion *c, struct error *err)
{
	const struct json_value *entrypoint, *cmd;
	struct oci_strings args = { NULL, 0 };
	size_t count;

	if (member(c->config, "Entrypoint", JSON_ARRAY, &entrypoint, err) < 0 ||
	    member(c->config, "Cmd", JSON_ARRAY, &cmd, err) < 0)
		return -EINVAL;
	count = (entrypoint ? entrypoint->children : 0) + (cmd ? cmd->children : 0);
	if (!count)
		return 0;
	args.items = arena_array(c->arena, count, sizeof(*args.items));
	if (!args.items)
		return no_memory(err);
	if (add_strings(entrypoint, "Entrypoint", &args, err) < 0 ||
	    add_strings(cmd, "Cmd", &args, err) < 0)
		return -EINVAL;
	c->out->process->args = args;
	return 0;
}

static bool has_variable(const struct oci_strings *env, const char *entry)
{
	size_t len = strcspn(entry, "=");

	for (size_t i = 0; i < env->len; i++)
		if (!strncmp(env->items[i], entry, len) && env->items[i][len] == '=')
			return true;
	return false;
}

/* The image's variables, then those of the defaults that it does not have. */
static int convert_env(struct conversion *c, struct error *err)
{
	const struct oci_strings defaults = c->out->process->env;
	struct oci_strings env = { NULL, 0 };
	const struct json_value *array;

	if (member(c->config, "Env", JSON_ARRAY, &array, err) < 0)
		return -EINVAL;
	if (!array)
		return 0;
	env.items = arena_array(c->arena, array->children + defaults.len + 1, sizeof(*env.items));
	if (!env.items)
		return no_memory(err);
	if (add_strings(array, "Env", &env, err) < 0)
		return -EINVAL;
	for (size_t i = 0; i < defaults.len; i++)
		if (!has_variable(&env, defaults.items[i]))
			env.items[env.len++] = defaults.items[i];
	c->out->process->env = env;
	return 0;
}

static int convert_cwd(struct conversion *c, struct error *err)
{
	const char *cwd;

	if (string_member(c->config, "WorkingDir", &cwd, err) < 0)
		return -EINVAL;
	if (!cwd || !*cwd)
		return 0;
	/* Docker's own images always have it absolute; the runtime accepts nothing else. */
	if (cwd[0] != '/')
		cwd = arena_printf(c->arena, "/%s", cwd);
	if (!cwd)
		return no_memory(err);
	c->out->process->cwd = cwd;
	return 0;
}

static int convert_user(struct conversion *c, int rootfs, struct error *err)
{
	struct oci_user *user = c->out->process->user;
	const char *text;

	if (string_member(c->config, "User", &text, err) < 0)
		return -EINVAL;
	if (!user) {
		user = arena_new(c->arena, struct oci_user);
		if (!user)
			return no_memory(err);
		c->out->process->user = user;
	}
	return image_user_resolve(rootfs, text, c->arena, user, err);
}

/* ---- mounts ------------------------------------------------------------------------------- */

static bool is_clean_absolute(const char *path)
{
	if (path[0] != '/' || !path[1])
		return false;
	for (const char *p = path; *p;) {
		size_t len = strcspn(++p, "/");

		if (len == 2 && !memcmp(p, "..", 2))
			return false;
		p += len;
	}
	return true;
}

static bool is_mounted(const struct oci_config *config, const char *destination)
{
	for (size_t i = 0; i < config->mounts.len; i++)
		if (!strcmp(config->mounts.items[i].destination, destination))
			return true;
	return false;
}

/*
 * A volume becomes an empty tmpfs, so that data is not written to the root file system. Whoever
 * wants it to last, or to begin with what the image has there, replaces the mount.
 */
static int convert_volumes(struct conversion *c, struct error *err)
{
	static const char *const options[] = { "nosuid", "nodev", "relatime" };
	struct oci_mounts *mounts = &c->out->mounts;
	const struct json_value *volumes;
	struct oci_mount *items;
	const char **copy;

	if (member(c->config, "Volumes", JSON_OBJECT, &volumes, err) < 0)
		return -EINVAL;
	if (!volumes || !volumes->children)
		return 0;
	items = arena_array(c->arena, mounts->len + volumes->children, sizeof(*items));
	copy = arena_memdup(c->arena, options, sizeof(options));
	if (!items || !copy)
		return no_memory(err);
	if (mounts->len)
		memcpy(items, mounts->items, mounts->len * sizeof(*items));
	mounts->items = items;
	for (const struct json_value *v = volumes->child; v; v = v->next) {
		if (!is_clean_absolute(v->key) || is_mounted(c->out, v->key)) {
			log_warning("volume `%.256s` of the image is left out", v->key);
			continue;
		}
		items[mounts->len++] = (struct oci_mount){
			.destination = v->key,
			.type = "tmpfs",
			.source = "tmpfs",
			.options = { copy, ARRAY_SIZE(options) },
		};
	}
	return 0;
}

/* ---- annotations -------------------------------------------------------------------------- */

static bool is_unsafe(const char *label)
{
	for (size_t i = 0; i < ARRAY_SIZE(unsafe_labels); i++)
		if (!strncmp(label, unsafe_labels[i], strlen(unsafe_labels[i])))
			return true;
	return false;
}

/* Adds an annotation where there is none of that name yet: what was added first wins. */
static void annotate(struct conversion *c, const char *key, const char *value)
{
	struct oci_map *map = &c->out->annotations;

	if (!value || !*value || oci_annotation(c->out, key))
		return;
	map->items[map->len++] = (struct oci_map_entry){ key, value };
}

static int add_labels(struct conversion *c, const struct json_value *labels, struct error *err)
{
	struct oci_map *map = &c->out->annotations;

	for (const struct json_value *l = labels ? labels->child : NULL; l; l = l->next) {
		if (l->type != JSON_STRING)
			return error_set(
				err, EINVAL,
				"image configuration: `Labels`: expected strings, found %s",
				json_type_name(l->type));
		if (!*l->key)
			continue;
		if (is_unsafe(l->key)) {
			log_warning(
				"label `%.256s` of the image is left out: a runtime would obey it",
				l->key);
			continue;
		}
		map->items[map->len++] = (struct oci_map_entry){ l->key, l->string };
	}
	return 0;
}

/* The keys of an object or the strings of an array as "a,b,c"; *s NULL where there are none. */
static int join(struct conversion *c, const struct json_value *list, const char **s,
		struct error *err)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };

	*s = NULL;
	for (const struct json_value *v = list ? list->child : NULL; v; v = v->next) {
		const char *word = list->type == JSON_OBJECT ? v->key
				   : v->type == JSON_STRING  ? v->string
							     : NULL;

		if (!word)
			return error_set(err, EINVAL, "image configuration: expected strings");
		if (text.len)
			strbuf_addc(&text, ',');
		strbuf_adds(&text, word);
	}
	if (!text.len && !strbuf_failed(&text))
		return 0;
	*s = strbuf_failed(&text) ? NULL : arena_strdup(c->arena, text.data);
	return *s ? 0 : no_memory(err);
}

static int annotate_lists(struct conversion *c, struct error *err)
{
	const struct json_value *features, *ports;
	const char *text;

	if (member(c->image, "os.features", JSON_ARRAY, &features, err) < 0 ||
	    member(c->config, "ExposedPorts", JSON_OBJECT, &ports, err) < 0)
		return -EINVAL;
	if (join(c, features, &text, err) < 0)
		return -err->code;
	annotate(c, ANNOTATION "os.features", text);
	if (join(c, ports, &text, err) < 0)
		return -err->code;
	annotate(c, ANNOTATION "exposedPorts", text);
	return 0;
}

static int convert_annotations(struct conversion *c, struct error *err)
{
	static const struct {
		bool of_config; /* a member of "config", not of the whole */
		const char *member, *key;
	} verbatim[] = {
		{ false, "os", ANNOTATION "os" },
		{ false, "architecture", ANNOTATION "architecture" },
		{ false, "variant", ANNOTATION "variant" },
		{ false, "os.version", ANNOTATION "os.version" },
		{ false, "author", ANNOTATION "author" },
		{ false, "created", ANNOTATION "created" },
		{ true, "StopSignal", ANNOTATION "stopSignal" },
	};
	struct oci_map *map = &c->out->annotations;
	const struct oci_map before = *map;
	const struct json_value *labels;

	if (member(c->config, "Labels", JSON_OBJECT, &labels, err) < 0)
		return -EINVAL;
	map->len = 0;
	map->items = arena_array(
		c->arena, before.len + (labels ? labels->children : 0) + ARRAY_SIZE(verbatim) + 2,
		sizeof(*map->items));
	if (!map->items)
		return no_memory(err);
	if (add_labels(c, labels, err) < 0)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(verbatim); i++) {
		const char *value;

		if (string_member(verbatim[i].of_config ? c->config : c->image, verbatim[i].member,
				  &value, err) < 0)
			return -EINVAL;
		annotate(c, verbatim[i].key, value);
	}
	if (annotate_lists(c, err) < 0)
		return -err->code;
	for (size_t i = 0; i < before.len; i++)
		annotate(c, before.items[i].key, before.items[i].value);
	return 0;
}

int image_config_convert(const struct json_value *image, int rootfs, bool rootless,
			 struct arena *arena, struct oci_config **config, struct error *err)
{
	struct conversion c = { .image = image, .arena = arena };
	struct error local = { 0 };

	if (!err)
		err = &local;
	if (member(image, "config", JSON_OBJECT, &c.config, err) < 0)
		return -EINVAL;
	c.out = oci_spec_default(arena, rootless, err);
	if (!c.out)
		return -err->code;
	/* No terminal, so that the bundle runs from a script as from a shell; an image is meant to be written to. */
	c.out->process->terminal = (struct opt_bool){ false, false };
	c.out->root->path = "rootfs";
	c.out->root->readonly = (struct opt_bool){ true, false };
	if (convert_args(&c, err) < 0 || convert_env(&c, err) < 0 || convert_cwd(&c, err) < 0 ||
	    convert_user(&c, rootfs, err) < 0 || convert_volumes(&c, err) < 0 ||
	    convert_annotations(&c, err) < 0)
		return -err->code;
	*config = c.out;
	return 0;
}

int image_config_write(const struct oci_config *config, int dir, mode_t mode, struct error *err)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	int r = oci_config_print(config, &text, err);

	if (r < 0)
		return r;
	strbuf_addc(&text, '\n');
	if (strbuf_failed(&text))
		return error_errno(err, ENOMEM, "write `config.json`");
	return file_replace(dir, "config.json", text.data, text.len, mode, err);
}
