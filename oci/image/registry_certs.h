/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of one's own, by host, as other tools keep them: the first of these directories
 * that exists.
 *
 *     ~/.config/containers/certs.d/HOST[:PORT]/
 *     /etc/containers/certs.d/HOST[:PORT]/
 *     /etc/docker/certs.d/HOST[:PORT]/
 *
 * *.crt are certificates of authorities, trusted beside the system's; NAME.cert with NAME.key is what we show.
 *
 * Source: containers-certs.d(5).
 */
#ifndef HULL_OCI_IMAGE_REGISTRY_CERTS_H
#define HULL_OCI_IMAGE_REGISTRY_CERTS_H

#include <limits.h>

#include "base/error.h"
#include "base/strbuf.h"

struct registry_certs {
	struct strbuf authorities; /* PEM; empty: the system's alone */
	char cert[PATH_MAX];       /* of the client, and its key; "": none */
	char key[PATH_MAX];
};

/* host: "host" or "host:port". That there is no directory is no error. */
int registry_certs_load(const char *host, struct registry_certs *certs, struct error *err);
void registry_certs_free(struct registry_certs *certs);

#endif
