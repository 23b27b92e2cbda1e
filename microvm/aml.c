/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI's byte code; see aml.h. */
#include "microvm/aml.h"

#include <string.h>

/* ACPI 6.5, 20.3 */
#define OP_ZERO    0x00
#define OP_ONE     0x01
#define OP_NAME    0x08
#define OP_BYTE    0x0a
#define OP_WORD    0x0b
#define OP_DWORD   0x0c
#define OP_STRING  0x0d
#define OP_QWORD   0x0e
#define OP_SCOPE   0x10
#define OP_BUFFER  0x11
#define OP_PACKAGE 0x12
#define OP_EXT     0x5b
#define OP_DEVICE  0x82 /* after OP_EXT */

/*
 * A length is always written in three bytes, of which it counts the first too: the length becomes known only at the end, and
 * need not have the shortest form.
 */
#define LENGTH_BYTES 3

void aml_bytes(struct aml *aml, const void *data, size_t len)
{
	if (len > aml->size - aml->len) {
		aml->overflow = true;
		return;
	}
	memcpy(aml->data + aml->len, data, len);
	aml->len += len;
}

void aml_byte(struct aml *aml, uint8_t byte)
{
	aml_bytes(aml, &byte, 1);
}

static void little_endian(struct aml *aml, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		aml_byte(aml, (uint8_t)(value >> 8 * i));
}

/* ---- objects ------------------------------------------------------------------------------ */

static size_t open_length(struct aml *aml)
{
	size_t mark = aml->len;

	little_endian(aml, 0, LENGTH_BYTES);
	return mark;
}

/* "Two bytes follow", four bits, then eight and eight. */
void aml_close(struct aml *aml, size_t mark)
{
	size_t len = aml->len - mark;

	if (aml->overflow)
		return;
	aml->data[mark] = (uint8_t)(0x80 | (len & 0x0f));
	aml->data[mark + 1] = (uint8_t)(len >> 4);
	aml->data[mark + 2] = (uint8_t)(len >> 12);
}

size_t aml_scope(struct aml *aml, const char *path)
{
	size_t mark;

	aml_byte(aml, OP_SCOPE);
	mark = open_length(aml);
	aml_bytes(aml, path, strlen(path));
	return mark;
}

size_t aml_device(struct aml *aml, const char *name)
{
	size_t mark;

	aml_byte(aml, OP_EXT);
	aml_byte(aml, OP_DEVICE);
	mark = open_length(aml);
	aml_bytes(aml, name, 4);
	return mark;
}

size_t aml_package(struct aml *aml, uint8_t count)
{
	size_t mark;

	aml_byte(aml, OP_PACKAGE);
	mark = open_length(aml);
	aml_byte(aml, count);
	return mark;
}

void aml_name(struct aml *aml, const char *name)
{
	aml_byte(aml, OP_NAME);
	aml_bytes(aml, name, 4);
}

/* ---- values ------------------------------------------------------------------------------- */

void aml_integer(struct aml *aml, uint64_t value)
{
	unsigned bytes = value > UINT32_MAX   ? 8
			 : value > UINT16_MAX ? 4
			 : value > UINT8_MAX  ? 2
					      : 1;

	if (value <= 1) {
		aml_byte(aml, value ? OP_ONE : OP_ZERO);
		return;
	}
	aml_byte(aml, bytes == 8   ? OP_QWORD
		      : bytes == 4 ? OP_DWORD
		      : bytes == 2 ? OP_WORD
				   : OP_BYTE);
	little_endian(aml, value, bytes);
}

void aml_string(struct aml *aml, const char *s)
{
	aml_byte(aml, OP_STRING);
	aml_bytes(aml, s, strlen(s) + 1);
}

static uint32_t hex(char c)
{
	return (uint32_t)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits, four hexadecimal digits; the most significant byte first (ACPI 6.5, 19.3.4). */
void aml_eisa_id(struct aml *aml, const char *id)
{
	uint32_t value = 0;

	for (int i = 0; i < 3; i++)
		value = value << 5 | (uint32_t)(id[i] - '@');
	for (int i = 3; i < 7; i++)
		value = value << 4 | hex(id[i]);
	aml_byte(aml, OP_DWORD);
	little_endian(aml, __builtin_bswap32(value), 4);
}

/* ---- resources: ACPI 6.5, 6.4 ------------------------------------------------------------- */

/* A buffer's length is written twice: of the object, and of the bytes in it, here always as a word. */
size_t aml_resources(struct aml *aml)
{
	size_t mark;

	aml_byte(aml, OP_BUFFER);
	mark = open_length(aml);
	aml_byte(aml, OP_WORD);
	little_endian(aml, 0, 2);
	return mark;
}

void aml_memory(struct aml *aml, uint32_t base, uint32_t size)
{
	aml_byte(aml, 0x86); /* 32-bit fixed memory range */
	little_endian(aml, 9, 2);
	aml_byte(aml, 1); /* writable */
	little_endian(aml, base, 4);
	little_endian(aml, size, 4);
}

void aml_ports(struct aml *aml, uint16_t base, uint8_t count)
{
	aml_byte(aml, 0x47); /* I/O ports, 7 bytes */
	aml_byte(aml, 1);    /* decodes 16 bits */
	little_endian(aml, base, 2);
	little_endian(aml, base, 2);
	aml_byte(aml, 1);
	aml_byte(aml, count);
}

void aml_interrupt(struct aml *aml, uint32_t gsi)
{
	aml_byte(aml, 0x89); /* extended interrupt */
	little_endian(aml, 6, 2);
	aml_byte(aml, 1 << 0 | 1 << 1); /* a consumer; edge-triggered */
	aml_byte(aml, 1);
	little_endian(aml, gsi, 4);
}

void aml_resources_close(struct aml *aml, size_t mark)
{
	size_t content;

	aml_byte(aml, 0x79); /* end tag, */
	aml_byte(aml, 0);    /* whose checksum need not be right where it is zero */
	if (aml->overflow)
		return;
	content = aml->len - mark - LENGTH_BYTES - 3;
	aml->data[mark + LENGTH_BYTES + 1] = (uint8_t)content;
	aml->data[mark + LENGTH_BYTES + 2] = (uint8_t)(content >> 8);
	aml_close(aml, mark);
}
