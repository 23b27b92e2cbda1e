/* SPDX-License-Identifier: Apache-2.0 */
/* Mirrors and the registry itself; see registry_places.h. */
#include "oci/image/registry_places.h"

#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "oci/image/registry_mirrors.h"

#define MIRROR_TRIES 2 /* there are others to ask */

struct place {
	struct registry_session *session;
	char host[REFERENCE_HOST_MAX + 1];
	bool digests_only;
	atomic_bool failed;
};

struct registry_places {
	size_t count; /* the last is the registry itself */
	struct place place[REGISTRY_MIRRORS_MAX + 1];
};

static int add(struct registry_places *p, const struct image_reference *reference,
	       const struct http_options *options, unsigned tries, struct error *err)
{
	struct place *place = &p->place[p->count];
	int r = registry_session_open(reference, options, tries, &place->session, err);

	if (r < 0)
		return r;
	memcpy(place->host, reference->host, sizeof(place->host));
	p->count++;
	return 0;
}

static int add_all(struct registry_places *p, const struct image_reference *reference,
		   const struct http_options *options, struct error *err)
{
	struct registry_mirrors mirrors;
	int r = registry_mirrors_find(reference, &mirrors, err);

	for (size_t i = 0; r >= 0 && i < mirrors.count; i++) {
		struct http_options http = *options;

		/* --plain-http is about the registry that it is given with. */
		http.plain_http = mirrors.mirror[i].plain_http;
		p->place[i].digests_only = mirrors.mirror[i].digests_only;
		r = add(p, &mirrors.mirror[i].reference, &http, MIRROR_TRIES, err);
	}
	return r < 0 ? r : add(p, reference, options, REGISTRY_TRIES, err);
}

int registry_places_open(const struct image_reference *reference,
			 const struct http_options *options, struct registry_places **places,
			 struct error *err)
{
	struct registry_places *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return error_errno(err, ENOMEM, "ask a registry");
	r = add_all(p, reference, options, err);
	if (r < 0)
		registry_places_close(p);
	else
		*places = p;
	return r;
}

void registry_places_close(struct registry_places *p)
{
	for (size_t i = 0; p && i < p->count; i++)
		registry_session_close(p->place[i].session);
	free(p);
}

size_t registry_places_first(const struct registry_places *p, bool by_tag)
{
	size_t i = 0;

	while (i + 1 < p->count &&
	       (atomic_load(&p->place[i].failed) || (by_tag && p->place[i].digests_only)))
		i++;
	return i;
}

struct registry_session *registry_places_session(const struct registry_places *p, size_t place)
{
	return p->place[place].session;
}

bool registry_places_failed(struct registry_places *p, size_t place, struct error *why)
{
	if (place + 1 >= p->count || why->code == EINTR || why->code == ENOMEM)
		return false;
	if (!atomic_exchange(&p->place[place].failed, true))
		log_warning("the mirror `%s` is not asked any more: %s", p->place[place].host,
			    why->text);
	error_clear(why);
	return true;
}
