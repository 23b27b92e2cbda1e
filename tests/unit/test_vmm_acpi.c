/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's ACPI tables: as the guest finds them, and as ACPI's own disassembler reads them, where that is installed. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "microvm/acpi.h"
#include "microvm/aml.h"
#include "microvm/layout.h"

static struct guest_memory memory;

static int set_up(void **state)
{
	(void)state;
	return guest_memory_create(&memory, UINT64_C(16) << 20, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	guest_memory_free(&memory);
	return 0;
}

static void make(unsigned cpus, unsigned devices)
{
	struct acpi_config config = { .cpus = cpus,
				      .devices = devices,
				      .generation = "generation 12345" };
	struct error err = { 0 };

	assert_int_equal(acpi_write(&memory, &config, &err), 0);
}

static const uint8_t *at(uint64_t gpa, size_t len)
{
	const uint8_t *p = guest_memory_at(&memory, gpa, len);

	assert_non_null(p);
	return p;
}

static uint32_t word(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t address(const uint8_t *p)
{
	return word(p) | (uint64_t)word(p + 4) << 32;
}

static void assert_sums_to_zero(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	assert_int_equal(sum, 0);
}

/* The table at gpa, whole and with its checksum right. */
static const uint8_t *table(uint64_t gpa, const char *signature)
{
	const uint8_t *p = at(gpa, 36);
	uint32_t len = word(p + 4);

	assert_int_equal(gpa % 16, 0);
	assert_memory_equal(p, signature, 4);
	assert_in_range(len, 36, 16384);
	assert_true(gpa + len <= LAYOUT_KERNEL);
	assert_sums_to_zero(at(gpa, len), len);
	return p;
}

/* The n-th table that the XSDT names. */
static const uint8_t *find(unsigned n, const char *signature)
{
	const uint8_t *rsdp = at(LAYOUT_RSDP, 36), *xsdt = table(address(rsdp + 24), "XSDT");

	assert_true(36 + 8 * (n + 1) <= word(xsdt + 4));
	return table(address(xsdt + 36 + (size_t)8 * n), signature);
}

static void root_pointer_is_right(void **state)
{
	const uint8_t *rsdp;

	(void)state;
	make(1, 3);
	rsdp = at(LAYOUT_RSDP, 36);
	assert_int_equal(LAYOUT_RSDP % 16, 0);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(word(rsdp + 20), 36);
	assert_sums_to_zero(rsdp, 20);
	assert_sums_to_zero(rsdp, 36);
}

static void fixed_description_is_hardware_reduced(void **state)
{
	const uint8_t *fadt;

	(void)state;
	make(1, 3);
	fadt = find(0, "FACP");
	assert_int_equal(word(fadt + 4), 276);
	assert_int_equal(fadt[8], 6);
	assert_true(word(fadt + 112) & 1u << 20);
	assert_true(word(fadt + 112) & 1u << 10);
	/* Reset, sleep control and sleep status: ports of 8 bits. */
	assert_memory_equal(fadt + 116, "\1\10\0\1\2\6\0\0\0\0\0\0\1", 13);
	assert_memory_equal(fadt + 244, "\1\10\0\1\0\6\0\0\0\0\0\0", 12);
	assert_memory_equal(fadt + 256, "\1\10\0\1\1\6\0\0\0\0\0\0", 12);
	table(address(fadt + 140), "DSDT");
}

static void every_processor_is_listed(void **state)
{
	static const unsigned counts[] = { 1, 2, 64, LAYOUT_CPUS_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		const uint8_t *madt, *p;

		make(counts[i], 1);
		madt = find(1, "APIC");
		assert_int_equal(word(madt + 36), LAYOUT_APIC);
		assert_int_equal(word(madt + 4), 44 + 8 * counts[i] + 12 + 6);
		p = madt + 44;
		for (unsigned cpu = 0; cpu < counts[i]; cpu++, p += 8) {
			assert_int_equal(p[0], 0);
			assert_int_equal(p[1], 8);
			assert_int_equal(p[3], cpu);
			assert_int_equal(word(p + 4), 1);
		}
		assert_int_equal(p[0], 1);
		assert_int_equal(word(p + 4), LAYOUT_IOAPIC);
		assert_int_equal(word(p + 8), 0);
		assert_int_equal(p[12], 4);
	}
}

static void generation_id_is_where_its_device_says(void **state)
{
	(void)state;
	make(1, 0);
	assert_int_equal(LAYOUT_GENERATION % 8, 0);
	assert_memory_equal(at(LAYOUT_GENERATION, 16), "generation 12345", 16);
}

static void most_devices_fit(void **state)
{
	(void)state;
	make(LAYOUT_CPUS_MAX, LAYOUT_MMIO_MAX);
	find(1, "APIC");
}

static void guest_without_memory_there_is_refused(void **state)
{
	struct acpi_config config = { .cpus = 1 };
	_cleanup_guest_memory_ struct guest_memory small;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(guest_memory_create(&small, LAYOUT_RSDP, &err), 0);
	assert_int_equal(acpi_write(&small, &config, &err), -ENOMEM);
}

/* ---- the byte code ------------------------------------------------------------------------ */

static void numbers_have_their_shortest_form(void **state)
{
	static const struct {
		uint64_t value;
		size_t len;
		const char *bytes;
	} cases[] = {
		{ 0, 1, "\0" },
		{ 1, 1, "\1" },
		{ 2, 2, "\12\2" },
		{ 0xff, 2, "\12\xff" },
		{ 0x100, 3, "\13\0\1" },
		{ 0x10000, 5, "\14\0\0\1\0" },
		{ UINT64_C(1) << 32, 9, "\16\0\0\0\0\1\0\0\0" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t buf[16];
		struct aml aml = { .data = buf, .size = sizeof(buf) };

		aml_integer(&aml, cases[i].value);
		assert_int_equal(aml.len, cases[i].len);
		assert_memory_equal(buf, cases[i].bytes, cases[i].len);
	}
}

static void ids_are_compressed(void **state)
{
	uint8_t buf[16];
	struct aml aml = { .data = buf, .size = sizeof(buf) };

	(void)state;
	aml_eisa_id(&aml, "PNP0501");
	assert_memory_equal(buf, "\14\x41\xd0\x05\x01", 5);
}

static void write_device(struct aml *aml)
{
	size_t device = aml_device(aml, "DEV0"), resources;

	aml_name(aml, "_CRS");
	resources = aml_resources(aml);
	aml_memory(aml, 1, 2);
	aml_ports(aml, 1, 2);
	aml_interrupt(aml, 3);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

static void nothing_is_written_past_the_end(void **state)
{
	uint8_t buf[80];
	struct aml whole = { .data = buf, .size = sizeof(buf) };

	(void)state;
	write_device(&whole);
	assert_false(whole.overflow);
	for (size_t size = 0; size <= whole.len; size++) {
		struct aml aml = { .data = buf, .size = size };

		memset(buf, 0x55, sizeof(buf));
		write_device(&aml);
		assert_true(aml.len <= size);
		for (size_t i = size; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0x55);
		assert_int_equal(aml.overflow, size < whole.len);
	}
}

/* ---- as others read it -------------------------------------------------------------------- */

/* Disassembles a table with iasl; the source is the caller's. NULL where there is no iasl. */
static char *disassemble(int dir, const char *path, const uint8_t *table_bytes, const char *name)
{
	char command[512], file[32];
	char *source = NULL;
	int fd, status;

	snprintf(file, sizeof(file), "%s.aml", name);
	fd = openat(dir, file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, table_bytes, word(table_bytes + 4)), 0);
	close(fd);
	snprintf(command, sizeof(command),
		 "cd '%s' && command -v iasl >/dev/null || exit 9; iasl -d %s >%s.log 2>&1 && "
		 "! grep -iE '[1-9][0-9]* (error|warning)|invalid' %s.log",
		 path, file, name, name);
	status = system(command); /* NOLINT(cert-env33-c): our own words in it */
	if (WIFEXITED(status) && WEXITSTATUS(status) == 9)
		return NULL;
	assert_int_equal(status, 0);
	snprintf(file, sizeof(file), "%s.dsl", name);
	assert_true(file_read(dir, file, 1 << 20, &source, NULL) > 0);
	return source;
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no \"%s\" in:\n%s", part, text);
}

static void disassembler_reads_what_was_meant(void **state)
{
	char path[256];
	char *source;
	int dir;

	(void)state;
	make(2, 17);
	dir = unit_make_dir(path, sizeof(path));
	source = disassemble(dir, path, table(address(find(0, "FACP") + 140), "DSDT"), "dsdt");
	if (!source) {
		unit_remove_dir(dir, path);
		skip();
	}
	assert_has(source, "Device (COM1)");
	assert_has(source, "EisaId (\"PNP0501\")");
	assert_has(source, "0x03F8,             // Range Minimum");
	assert_has(source, "Device (VR00)");
	assert_has(source, "\"LNRO0005\"");
	assert_has(source, "0xD0000000,         // Address Base");
	assert_has(source, "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive");
	assert_has(source, "Device (VR10)");
	assert_has(source, "0xD0010000,         // Address Base");
	assert_has(source, "0x00000015,");
	assert_has(source, "Device (VGEN)");
	assert_has(source, "\"VMGENCTR\"");
	assert_has(source, "0x000E0030");
	assert_has(source, "Name (_S5, Package (0x04)");
	free(source);
	source = disassemble(dir, path, find(0, "FACP"), "fadt");
	assert_has(source, "Hardware Reduced (V5) : 1");
	free(source);
	source = disassemble(dir, path, find(1, "APIC"), "madt");
	assert_has(source, "Local Apic ID : 01");
	free(source);
	unit_remove_dir(dir, path);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(root_pointer_is_right),
		TEST(fixed_description_is_hardware_reduced),
		TEST(every_processor_is_listed),
		TEST(generation_id_is_where_its_device_says),
		TEST(most_devices_fit),
		TEST(guest_without_memory_there_is_refused),
		TEST(numbers_have_their_shortest_form),
		TEST(ids_are_compressed),
		TEST(nothing_is_written_past_the_end),
		TEST(disassembler_reads_what_was_meant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
