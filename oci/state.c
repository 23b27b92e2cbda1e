/* SPDX-License-Identifier: Apache-2.0 */
/* Printing a container's state; see state.h. */
#include "oci/state.h"

#include "oci/json.h"

const char *oci_status_name(enum oci_status status)
{
	static const char *const names[] = {
		[OCI_CREATING] = "creating", [OCI_CREATED] = "created", [OCI_RUNNING] = "running",
		[OCI_STOPPED] = "stopped",   [OCI_PAUSED] = "paused",
	};

	return names[status];
}

static void print_optional(struct json_writer *w, const char *key, const char *value)
{
	if (value)
		json_write_member(w, key, value);
}

static void write_state(struct json_writer *w, const struct oci_state *state)
{
	const struct oci_map *annotations = state->annotations;

	json_write_begin(w, '{');
	json_write_member(w, "ociVersion", state->oci_version);
	json_write_member(w, "id", state->id);
	json_write_member(w, "status", oci_status_name(state->status));
	json_write_key(w, "pid");
	json_write_i64(w, state->pid);
	json_write_member(w, "bundle", state->bundle);
	print_optional(w, "rootfs", state->rootfs);
	print_optional(w, "created", state->created);
	print_optional(w, "owner", state->owner);
	print_optional(w, "systemd-scope", state->systemd_scope);
	if (annotations && annotations->len) {
		json_write_key(w, "annotations");
		json_write_begin(w, '{');
		for (size_t i = 0; i < annotations->len; i++)
			json_write_member(w, annotations->items[i].key,
					  annotations->items[i].value);
		json_write_end(w, '}');
	}
	json_write_end(w, '}');
}

int oci_state_print(const struct oci_state *state, bool indent, struct strbuf *out,
		    struct error *err)
{
	struct json_writer w;

	json_write_init(&w, out, indent ? 2 : 0);
	write_state(&w, state);
	return strbuf_failed(out) ? error_errno(err, ENOMEM, "print a state") : 0;
}

int oci_process_state_print(const struct oci_process_state *process, struct strbuf *out,
			    struct error *err)
{
	struct json_writer w;

	json_write_init(&w, out, 0);
	json_write_begin(&w, '{');
	json_write_member(&w, "ociVersion", OCI_VERSION);
	json_write_key(&w, "fds");
	json_write_begin(&w, '[');
	json_write_string(&w, OCI_SECCOMP_FD);
	json_write_end(&w, ']');
	json_write_key(&w, "pid");
	json_write_i64(&w, process->pid);
	print_optional(&w, "metadata", process->metadata);
	json_write_key(&w, "state");
	write_state(&w, &process->state);
	json_write_end(&w, '}');
	return strbuf_failed(out) ? error_errno(err, ENOMEM, "print a process state") : 0;
}
