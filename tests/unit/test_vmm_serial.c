/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor's small devices: the serial port, the ports that end the machine, and what processors say of themselves. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "microvm/cpuid.h"
#include "microvm/layout.h"
#include "microvm/power.h"
#include "microvm/serial.h"

/* ---- the serial port ---------------------------------------------------------------------- */

static struct loop loop;
static struct serial serial;

static void open_serial(int output)
{
	struct error err = { 0 };

	assert_int_equal(loop_open(&loop, &err), 0);
	assert_int_equal(serial_init(&serial, output, &loop, &err), 0);
}

static void close_serial(void)
{
	serial_free(&serial);
	loop_close(&loop);
}

static void put(const char *s)
{
	while (*s)
		serial_write(&serial, 0, (uint8_t)*s++);
}

static void run_loop(void)
{
	while (loop_step(&loop, 0, NULL) > 0)
		;
}

static bool interrupted(void)
{
	eventfd_t value;

	return eventfd_read(serial.irq_fd, &value) == 0;
}

static void output_comes_out(void **state)
{
	char buf[16] = "";
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	open_serial(ends[1]);
	put("hello");
	run_loop();
	assert_int_equal(read(ends[0], buf, sizeof(buf)), 5);
	assert_string_equal(buf, "hello");
	put(" world");
	serial_flush(&serial); /* without the loop */
	assert_int_equal(read(ends[0], buf, sizeof(buf)), 6);
	close_serial();
	close(ends[0]);
}

/* The checks that Linux' 8250 driver makes before it believes in a 16550A. */
static void driver_finds_a_16550(void **state)
{
	(void)state;
	open_serial(-1);
	assert_int_equal(serial_read(&serial, 5), 0x60);
	serial_write(&serial, 1, 0x00);
	assert_int_equal(serial_read(&serial, 1), 0x00);
	serial_write(&serial, 1, 0x0f);
	assert_int_equal(serial_read(&serial, 1) & 0x0f, 0x0f);
	serial_write(&serial, 1, 0xff);
	assert_int_equal(serial_read(&serial, 1), 0x0f);
	serial_write(&serial, 1, 0);
	serial_write(&serial, 4, 0x10 | 0x08 | 0x02);
	assert_int_equal(serial_read(&serial, 6) & 0xf0, 0x90);
	serial_write(&serial, 0, 'x'); /* looped back, not sent */
	serial_write(&serial, 4, 0x0b);
	assert_int_equal(serial_read(&serial, 6), 0xb0);
	serial_write(&serial, 2, 0x01);
	assert_int_equal(serial_read(&serial, 2) & 0xc0, 0xc0);
	serial_write(&serial, 2, 0x00);
	assert_int_equal(serial_read(&serial, 2) & 0xc0, 0);
	serial_write(&serial, 7, 0xa5);
	assert_int_equal(serial_read(&serial, 7), 0xa5);
	/* The divisor is behind the same registers. */
	serial_write(&serial, 3, 0x83);
	serial_write(&serial, 0, 0x01);
	serial_write(&serial, 1, 0x02);
	assert_int_equal(serial_read(&serial, 0), 0x01);
	assert_int_equal(serial_read(&serial, 1), 0x02);
	serial_write(&serial, 3, 0x03);
	assert_int_equal(serial_read(&serial, 0), 0);
	assert_int_equal(serial.written, 0);
	close_serial();
}

static void empty_transmitter_interrupts_once(void **state)
{
	(void)state;
	open_serial(-1);
	put("a");
	assert_false(interrupted());
	assert_int_equal(serial_read(&serial, 2) & 0x0f, 0x01);
	serial_write(&serial, 1, 0x02);
	assert_true(interrupted());
	put("bc");
	assert_false(interrupted()); /* the first has not been seen yet */
	assert_int_equal(serial_read(&serial, 2) & 0x0f, 0x02);
	assert_int_equal(serial_read(&serial, 2) & 0x0f, 0x01);
	put("d");
	assert_true(interrupted());
	serial_write(&serial, 1, 0x00);
	assert_int_equal(serial_read(&serial, 2) & 0x0f, 0x01);
	close_serial();
}

static void slow_reader_loses_but_nobody_waits(void **state)
{
	_cleanup_free_ char *big = malloc(1 << 20);
	size_t got = 0;
	ssize_t n;
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_true(fcntl(ends[1], F_SETPIPE_SZ, 8192) >= 8192);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	open_serial(ends[1]);
	for (unsigned i = 0; i < 300000; i++) {
		serial_write(&serial, 0, (uint8_t)('a' + i % 26));
		if (i % 1000 == 0)
			run_loop();
	}
	while ((n = read(ends[0], big + got, 65536)) > 0) {
		got += (size_t)n;
		run_loop();
	}
	assert_in_range(got, SERIAL_QUEUE, SERIAL_QUEUE + 16384);
	for (size_t i = 0; i < 8192; i++)
		assert_int_equal(big[i], 'a' + i % 26);
	put("end");
	run_loop();
	assert_int_equal(read(ends[0], big, 100), 3);
	close_serial();
	close(ends[0]);
}

static void reader_that_is_gone_does_no_harm(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	signal(SIGPIPE, SIG_IGN);
	open_serial(ends[1]);
	close(ends[0]);
	put("hello");
	run_loop();
	put("hello");
	run_loop();
	assert_int_equal(loop_step(&loop, 0, NULL), 0); /* it does not spin */
	serial_flush(&serial);
	close_serial();
}

static void output_is_bounded(void **state)
{
	int fd = memfd_create("output", MFD_CLOEXEC);
	struct log_config quiet = { .fd = -1, .quiet = true };
	struct stat st;

	(void)state;
	log_configure(&quiet);
	open_serial(fcntl(fd, F_DUPFD_CLOEXEC, 0));
	for (unsigned i = 0; i < SERIAL_TOTAL_MAX + 100000; i++) {
		serial_write(&serial, 0, 'x');
		if (i % 50000 == 0)
			run_loop();
	}
	put("\nlast words");
	run_loop();
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, SERIAL_TOTAL_MAX);
	{
		char lines[64];

		serial_last_lines(&serial, lines, sizeof(lines));
		assert_string_equal(lines, "last words");
	}
	close_serial();
	close(fd);
}

static void last_lines_are_safe_to_print(void **state)
{
	char lines[200], small[12];

	(void)state;
	open_serial(-1);
	serial_last_lines(&serial, lines, sizeof(lines));
	assert_string_equal(lines, "");
	put("one\r\n\033[2Jtwo\a\x80\t\n");
	serial_last_lines(&serial, lines, sizeof(lines));
	assert_string_equal(lines, "one\n?[2Jtwo???\n");
	/* What is cut begins with a whole line. */
	serial_last_lines(&serial, small, sizeof(small));
	assert_string_equal(small, "");
	put("x\ny\n");
	serial_last_lines(&serial, small, sizeof(small));
	assert_string_equal(small, "x\ny\n");
	for (int i = 0; i < 10000; i++)
		put("0123456789\n");
	serial_last_lines(&serial, lines, sizeof(lines));
	assert_int_equal(strlen(lines) % 11, 0);
	assert_in_range(strlen(lines), 180, 199);
	close_serial();
}

/* ---- the end ------------------------------------------------------------------------------ */

static void ports_end_the_machine(void **state)
{
	(void)state;
	assert_int_equal(power_write(LAYOUT_I8042_COMMAND, 0xfe), VMM_END_RESET);
	assert_int_equal(power_write(LAYOUT_I8042_COMMAND, 0xd1), VMM_END_NONE);
	assert_int_equal(power_write(LAYOUT_I8042_DATA, 0xfe), VMM_END_NONE);
	assert_int_equal(power_write(LAYOUT_RESET, 1), VMM_END_RESET);
	assert_int_equal(power_write(LAYOUT_RESET, 0), VMM_END_NONE);
	assert_int_equal(power_write(LAYOUT_SLEEP_CONTROL, 5 << 2 | 0x20), VMM_END_POWEROFF);
	assert_int_equal(power_write(LAYOUT_SLEEP_CONTROL, 5 << 2), VMM_END_NONE);
	assert_int_equal(power_write(LAYOUT_SLEEP_CONTROL, 3 << 2 | 0x20), VMM_END_NONE);
	assert_int_equal(power_write(LAYOUT_SLEEP_STATUS, 0x80), VMM_END_NONE);
	assert_true(power_has_port(LAYOUT_RESET));
	assert_false(power_has_port(LAYOUT_RESET + 1));
	assert_false(power_has_port(0));
	assert_int_equal(power_read(LAYOUT_I8042_COMMAND), 0); /* never busy */
}

/* ---- CPUID -------------------------------------------------------------------------------- */

static void add(struct cpuid *cpuid, uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx,
		uint32_t ecx, uint32_t edx)
{
	bool indexed = leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0x8000001d;

	cpuid->entries[cpuid->header.nent++] = (struct kvm_cpuid_entry2){
		.function = leaf,
		.index = subleaf,
		.flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = eax,
		.ebx = ebx,
		.ecx = ecx,
		.edx = edx,
	};
}

static struct cpuid make_cpuid(void)
{
	struct cpuid c = { .header.nent = 0 };

	add(&c, 0, 0, 0x1f, 0, 0, 0);
	add(&c, 1, 0, 0x663, 0xaa000000, 1u << 15, 1u << 28);
	add(&c, 4, 0, 0xfc004121, 0, 0, 0);
	add(&c, 4, 3, 0xfc004163, 0, 0, 0);
	add(&c, 4, 4, 0, 0, 0, 0);
	add(&c, 6, 0, 4, 0, 1u << 3, 0);
	add(&c, 7, 0, 1, 0, 1u << 5 | 1u << 2, 0);
	add(&c, 0xa, 0, 0x08300802, 1, 2, 3);
	add(&c, 0xb, 0, 0, 0, 0, 0);
	add(&c, 0x80000008, 0, 0x3030, 0, 0x7007, 0);
	add(&c, 0x8000001d, 0, 0x3c121, 0, 0, 0);
	add(&c, 0x8000001d, 3, 0x3c163, 0, 0, 0);
	add(&c, 0x8000001e, 0, 9, 9, 9, 9);
	return c;
}

static void processors_know_their_place(void **state)
{
	static const struct {
		unsigned count, bits;
	} machines[] = { { 1, 0 }, { 2, 1 }, { 3, 2 }, { 4, 2 }, { 5, 3 }, { 64, 6 }, { 254, 8 } };

	(void)state;
	for (size_t m = 0; m < ARRAY_SIZE(machines); m++) {
		unsigned count = machines[m].count, index = count - 1;
		struct cpuid c = make_cpuid();
		struct kvm_cpuid_entry2 *e;

		cpuid_adjust(&c, index, count);
		e = cpuid_find(&c, 1, 0);
		assert_int_equal(e->ebx >> 24, index);
		assert_in_range(e->ebx >> 16 & 0xff, count, 255);
		assert_int_equal(e->edx >> 28 & 1, count > 1);
		e = cpuid_find(&c, 0xb, 0);
		assert_int_equal(e->eax, 0);
		assert_int_equal(e->ebx, 1);
		assert_int_equal(e->ecx, 0x100);
		assert_int_equal(e->edx, index);
		e = cpuid_find(&c, 0xb, 1);
		assert_int_equal(e->eax, machines[m].bits);
		assert_int_equal(e->ebx, count);
		assert_int_equal(e->ecx, 0x201);
		assert_int_equal(e->edx, index);
		assert_int_equal(cpuid_find(&c, 0xb, 2)->ecx, 2);
		/* Caches: the first levels are one core's, the last is shared. */
		assert_int_equal(cpuid_find(&c, 4, 0)->eax >> 14 & 0xfff, 0);
		assert_int_equal(cpuid_find(&c, 4, 3)->eax >> 14 & 0xfff, count - 1);
		assert_int_equal(cpuid_find(&c, 4, 0)->eax & 0x3fff, 0x121);
		assert_int_equal(cpuid_find(&c, 0x8000001d, 0)->eax >> 14 & 0xfff, 0);
		assert_int_equal(cpuid_find(&c, 0x8000001d, 3)->eax >> 14 & 0xfff, count - 1);
		assert_int_equal(cpuid_find(&c, 0x80000008, 0)->ecx,
				 machines[m].bits << 12 | index);
		assert_int_equal(cpuid_find(&c, 0x8000001e, 0)->eax, index);
	}
}

static void processors_have_only_what_works(void **state)
{
	struct cpuid c = make_cpuid();
	struct kvm_cpuid_entry2 *e;

	(void)state;
	cpuid_adjust(&c, 0, 2);
	e = cpuid_find(&c, 1, 0);
	assert_true(e->ecx & 1u << 31);  /* a hypervisor */
	assert_true(e->ecx & 1u << 24);  /* TSC deadline timer */
	assert_false(e->ecx & 1u << 15); /* PDCM */
	assert_int_equal(e->eax, 0x663);
	assert_int_equal(cpuid_find(&c, 6, 0)->ecx, 0);
	assert_int_equal(cpuid_find(&c, 6, 0)->eax, 4);
	assert_int_equal(cpuid_find(&c, 7, 0)->ecx, 1u << 2);
	assert_int_equal(cpuid_find(&c, 0xa, 0)->eax, 0);
	assert_null(cpuid_find(&c, 0x99, 0));
}

static void full_table_does_not_overflow(void **state)
{
	struct cpuid c = make_cpuid();

	(void)state;
	while (c.header.nent < CPUID_ENTRIES_MAX)
		add(&c, 0x40000000 + c.header.nent, 0, 0, 0, 0, 0);
	cpuid_adjust(&c, 0, 2);
	assert_int_equal(c.header.nent, CPUID_ENTRIES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_comes_out),
		cmocka_unit_test(driver_finds_a_16550),
		cmocka_unit_test(empty_transmitter_interrupts_once),
		cmocka_unit_test(slow_reader_loses_but_nobody_waits),
		cmocka_unit_test(reader_that_is_gone_does_no_harm),
		cmocka_unit_test(output_is_bounded),
		cmocka_unit_test(last_lines_are_safe_to_print),
		cmocka_unit_test(ports_end_the_machine),
		cmocka_unit_test(processors_know_their_place),
		cmocka_unit_test(processors_have_only_what_works),
		cmocka_unit_test(full_table_does_not_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
