/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer of ACPI's byte code (ACPI 6.5, chapter 20) into a buffer of fixed size; as much of it as a table of devices takes.
 * Names are segments of four characters.
 */
#ifndef HULL_MICROVM_AML_H
#define HULL_MICROVM_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *data;
	size_t len, size;
	bool overflow; /* something did not fit; nothing was written past size */
};

void aml_bytes(struct aml *aml, const void *data, size_t len);
void aml_byte(struct aml *aml, uint8_t byte);

/* Objects that hold others: what is written until aml_close(mark) is in them. Each returns its mark. */
size_t aml_scope(struct aml *aml, const char *path);
size_t aml_device(struct aml *aml, const char *name);
size_t aml_package(struct aml *aml, uint8_t count);
void aml_close(struct aml *aml, size_t mark);

/* Name(name, …): a value follows. */
void aml_name(struct aml *aml, const char *name);

/* Values. */
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *s);
void aml_eisa_id(struct aml *aml, const char *id); /* as "PNP0501" */

/* ResourceTemplate() { … }: begun, filled, and closed with its own function. */
size_t aml_resources(struct aml *aml);
void aml_memory(struct aml *aml, uint32_t base, uint32_t size);
void aml_ports(struct aml *aml, uint16_t base, uint8_t count);
void aml_interrupt(struct aml *aml, uint32_t gsi); /* edge-triggered, active high, not shared */
void aml_resources_close(struct aml *aml, size_t mark);

#endif
