/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structures made at random by their descriptor tables, and compared by them. What a table says is
 * valid is what is made, so a new member is tested without another line here.
 */
#ifndef HULL_TESTS_UNIT_GENERATE_H
#define HULL_TESTS_UNIT_GENERATE_H

#include "base/arena.h"
#include "oci/schema.h"

struct generator {
	uint64_t state; /* the seed; the same seed makes the same structures */
	struct arena *arena;
};

/* A number from 0 to below. */
uint64_t generate_number(struct generator *g, uint64_t below);

/* Fills a zeroed structure; what check functions demand beyond the table is the caller's to mend. */
void generate_object(struct generator *g, const struct schema *schema, void *object);

/* Whether two structures say the same; where not, the member at fault is printed. */
bool same_object(const struct schema *schema, const void *a, const void *b);

#endif
