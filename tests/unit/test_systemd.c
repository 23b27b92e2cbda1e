/* SPDX-License-Identifier: Apache-2.0 */
/* The systemd cgroup driver, the parts that need no systemd: names, paths, annotations and limits as properties. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "cgroups/internal.h"
#include "cgroups/systemd.h"

/* ---- names and paths ------------------------------------------------------------------------ */

static void scope_is(const char *cgroups_path, bool user, const char *slice, const char *unit,
		     const char *path)
{
	struct systemd_scope scope;
	struct error err = { 0 };
	char found[CGROUP_PATH_MAX];

	assert_int_equal(systemd_scope_name(cgroups_path, "id1", user, &scope, &err), 0);
	assert_string_equal(scope.slice, slice);
	assert_string_equal(scope.unit, unit);
	assert_int_equal(systemd_scope_path(&scope, 1000, found, sizeof(found), &err), 0);
	assert_string_equal(found, path);
	assert_int_equal(cgroup_path_check(found, &err), 0);
}

static void names_follow_from_cgroups_path(void **state)
{
	(void)state;
	scope_is(NULL, false, "system.slice", "hull-id1.scope", "/system.slice/hull-id1.scope");
	scope_is("", false, "system.slice", "hull-id1.scope", "/system.slice/hull-id1.scope");
	scope_is("::", false, "system.slice", "id1.scope", "/system.slice/id1.scope");
	scope_is(":docker:abc", false, "system.slice", "docker-abc.scope",
		 "/system.slice/docker-abc.scope");
	scope_is("-:p:n", false, "-.slice", "p-n.scope", "/p-n.scope");
	scope_is("-.slice:p:n", false, "-.slice", "p-n.scope", "/p-n.scope");
	scope_is(
		"kubepods-burstable-pod1.slice:cri:n", false, "kubepods-burstable-pod1.slice",
		"cri-n.scope",
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-n.scope");
	scope_is(":p:n", true, "user.slice", "p-n.scope",
		 "/user.slice/user-1000.slice/user@1000.service/user.slice/p-n.scope");
	scope_is(":p:a+b", false, "system.slice", "p-a\\x2bb.scope",
		 "/system.slice/p-a\\x2bb.scope");
}

static void bad_names_are_refused(void **state)
{
	static const char *const bad[] = {
		"/a/b",         "a",
		"a.slice:b",    "a.slice:b:c:d",
		"a:b:c",        "a--b.slice:b:c",
		"-a.slice:b:c", "a-.slice:b:c",
		".slice:b:c",   "a/b.slice:b:c",
		":b:c/d",       ":b:../c",
		":b:c.slice",   ":b:c d",
		":b@x:c",       ":\n:c",
	};
	char longer[2 * SYSTEMD_NAME_MAX] = ":";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct systemd_scope scope;
		struct error err = { 0 };

		assert_int_equal(systemd_scope_name(bad[i], "id1", false, &scope, &err), -EINVAL);
		assert_non_null(strstr(err.text, "cgroupsPath"));
	}
	memset(longer + 1, 'a', sizeof(longer) - 2);
	longer[2] = ':';
	{
		struct systemd_scope scope;
		struct error err = { 0 };

		assert_int_equal(systemd_scope_name(longer, "id1", false, &scope, &err),
				 -ENAMETOOLONG);
	}
}

static void a_small_buffer_for_the_path_is_not_overrun(void **state)
{
	struct systemd_scope scope;
	char path[16];

	(void)state;
	assert_int_equal(systemd_scope_name("a-b-c-d-e.slice:p:n", "i", true, &scope, NULL), 0);
	for (size_t size = 1; size <= sizeof(path); size++)
		assert_int_equal(systemd_scope_path(&scope, 1, path, size, NULL), -ENAMETOOLONG);
}

/* ---- annotations ------------------------------------------------------------------------------ */

/* The request's fields with "|" for the NULs. */
static void fields(struct strbuf *request, char *out, size_t size)
{
	size_t len = request->len < size - 1 ? request->len : size - 1;

	assert_false(strbuf_failed(request));
	memcpy(out, request->data, len);
	for (size_t i = 0; i < len; i++)
		if (!out[i])
			out[i] = '|';
	out[len] = '\0';
	strbuf_free(request);
	*request = (struct strbuf){ 0 };
}

static void property_is(const char *name, const char *value, const char *expected)
{
	struct strbuf request = { 0 };
	struct error err = { 0 };
	char key[128], found[512];

	snprintf(key, sizeof(key), SYSTEMD_PROPERTY "%s", name);
	if (systemd_request_add_annotation(&request, key, value, &err) < 0)
		fail_msg("%s", err.text);
	fields(&request, found, sizeof(found));
	assert_string_equal(found, expected);
}

static void annotations_become_properties(void **state)
{
	(void)state;
	property_is("CollectMode", "'inactive-or-failed'", "CollectMode|s|1|inactive-or-failed|");
	property_is("CollectMode", " \"a 'b'\" ", "CollectMode|s|1|a 'b'|");
	property_is("Description", "'a\\'b\\\\c\\n'", "Description|s|1|a'b\\c\n|");
	property_is("TimeoutStopUSec", "uint64 123456789", "TimeoutStopUSec|t|1|123456789|");
	property_is("SendSIGHUP", "true", "SendSIGHUP|b|1|1|");
	property_is("SendSIGHUP", "false", "SendSIGHUP|b|1|0|");
	property_is("Nice", "-5", "Nice|i|1|-5|");
	property_is("Some", "byte 255", "Some|y|1|255|");
	property_is("Some", "double 1.5", "Some|d|1|1.5|");
	property_is("Some", "1.5", "Some|d|1|1.5|");
	property_is("Some", "int64 -9223372036854775808", "Some|x|1|-9223372036854775808|");
	property_is("After", "['a.service', 'b.service']", "After|as|2|a.service|b.service|");
	property_is("After", "@as []", "After|as|0|");
	property_is("After", "@as ['a']", "After|as|1|a|");
	property_is("Some", "[uint32 1, 2]", "Some|au|2|1|2|");
	property_is("Some", "[ true , false ]", "Some|ab|2|1|0|");
	property_is("Some", "objectpath '/a'", "Some|o|1|/a|");
}

static void seconds_become_microseconds(void **state)
{
	(void)state;
	property_is("TimeoutStopSec", "3", "TimeoutStopUSec|t|1|3000000|");
	property_is("TimeoutStopSec", "uint64 7", "TimeoutStopUSec|t|1|7000000|");
	property_is("TimeoutStopSec", "1.25", "TimeoutStopUSec|t|1|1250000|");
	property_is("RuntimeMaxUSec", "uint64 5", "RuntimeMaxUSec|t|1|5|");
	property_is("FooSEC", "5", "FooSEC|i|1|5|");
}

static void bad_annotations_are_refused(void **state)
{
	static const char *const bad[][2] = {
		{ "", "1" },
		{ "Ab", "1" },
		{ "A1b", "1" },
		{ "Some.Thing", "1" },
		{ "Slice", "'a.slice'" },
		{ "PIDs", "[uint32 1]" },
		{ "Delegate", "false" },
		{ "Some", "" },
		{ "Some", "   " },
		{ "Some", "word" },
		{ "Some", "'open" },
		{ "Some", "'a' 'b'" },
		{ "Some", "'a\\" },
		{ "Some", "'\\q'" },
		{ "Some", "1 2" },
		{ "Some", "1.2.3" },
		{ "Some", "." },
		{ "Some", "-" },
		{ "Some", "--5" },
		{ "Some", "+5" },
		{ "Some", "2147483648" },
		{ "Some", "byte 256" },
		{ "Some", "uint32 -1" },
		{ "Some", "uint64 18446744073709551616" },
		{ "Some", "uint64 uint64 5" },
		{ "Some", "uint64 'a'" },
		{ "Some", "uint64 true" },
		{ "Some", "[]" },
		{ "Some", "['a'" },
		{ "Some", "['a',]" },
		{ "Some", "['a', true]" },
		{ "Some", "['a', 1]" },
		{ "Some", "[1, 'a']" },
		{ "Some", "[[1]]" },
		{ "Some", "(1, 2)" },
		{ "Some", "{'a': 1}" },
		{ "Some", "<1>" },
		{ "Some", "@as 'a'" },
		{ "Some", "@a" },
		{ "Some", "@" },
		{ "Some", "@aas []" },
		{ "Some", "[byte 1, 300]" },
		{ "TimeoutStopSec", "'5'" },
		{ "TimeoutStopSec", "-5" },
		{ "TimeoutStopSec", "[1]" },
		{ "TimeoutStopSec", "int64 9223372036854775807" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct strbuf request = { 0 };
		struct error err = { 0 };
		char key[128];

		snprintf(key, sizeof(key), SYSTEMD_PROPERTY "%s", bad[i][0]);
		if (systemd_request_add_annotation(&request, key, bad[i][1], &err) != -EINVAL)
			fail_msg("%s = %s is not refused", bad[i][0], bad[i][1]);
		assert_non_null(strstr(err.text, "/annotations/" SYSTEMD_PROPERTY));
		assert_int_equal(request.len, 0);
		strbuf_free(&request);
	}
}

/* Neither a deep nor a long value takes more than its own length. */
static void a_hostile_value_is_bounded(void **state)
{
	size_t size = 1 << 20;
	char *value = malloc(size);
	struct strbuf request = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_non_null(value);
	for (size_t i = 0; i + 7 < size; i += 7)
		memcpy(value + i, "uint64 ", 8);
	assert_int_equal(
		systemd_request_add_annotation(&request, SYSTEMD_PROPERTY "Some", value, &err),
		-EINVAL);
	memset(value, '[', size - 1);
	value[size - 1] = '\0';
	assert_int_equal(
		systemd_request_add_annotation(&request, SYSTEMD_PROPERTY "Some", value, &err),
		-EINVAL);
	value[0] = '[';
	for (size_t i = 1; i + 2 < size; i += 2)
		memcpy(value + i, "1,", 3);
	assert_int_equal(
		systemd_request_add_annotation(&request, SYSTEMD_PROPERTY "Some", value, &err),
		-EINVAL);
	assert_non_null(strstr(err.text, "too long"));
	strbuf_free(&request);
	free(value);
}

/* ---- limits ------------------------------------------------------------------------------------ */

static void properties_are(const char *json, bool v1, const char *expected)
{
	struct arena arena = { 0 };
	struct strbuf request = { 0 };
	struct oci_resources *resources;
	struct error err = { 0 };
	char found[1024];

	assert_int_equal(oci_resources_parse(json, strlen(json), &arena, &resources, &err), 0);
	strbuf_add(&request, "", 0);
	if (systemd_request_add_limits(&request, resources, v1, &err) < 0)
		fail_msg("%s: %s", json, err.text);
	fields(&request, found, sizeof(found));
	assert_string_equal(found, expected);
	arena_free(&arena);
}

static void limits_are(const char *json, const char *expected)
{
	properties_are(json, false, expected);
}

#define INFINITE "18446744073709551615"

static void limits_become_properties(void **state)
{
	(void)state;
	limits_are("{}", "");
	limits_are("{\"memory\": {\"limit\": 0, \"swap\": 0}}", "");
	limits_are("{\"memory\": {\"limit\": 100, \"swap\": 150, \"reservation\": 50}}",
		   "MemoryMax|t|1|100|MemorySwapMax|t|1|50|MemoryLow|t|1|50|");
	limits_are("{\"memory\": {\"limit\": -1}}",
		   "MemoryMax|t|1|" INFINITE "|MemorySwapMax|t|1|" INFINITE "|");
	limits_are("{\"cpu\": {\"shares\": 1024}}", "CPUWeight|t|1|100|");
	limits_are("{\"cpu\": {\"shares\": 1024, \"idle\": 1}}", "CPUWeight|t|1|0|");
	limits_are("{\"cpu\": {\"quota\": 50000}}",
		   "CPUQuotaPeriodUSec|t|1|100000|CPUQuotaPerSecUSec|t|1|500000|");
	/* a third of a processor, in whole percents */
	limits_are("{\"cpu\": {\"quota\": 33333, \"period\": 100000}}",
		   "CPUQuotaPeriodUSec|t|1|100000|CPUQuotaPerSecUSec|t|1|340000|");
	limits_are("{\"cpu\": {\"quota\": -1}}",
		   "CPUQuotaPeriodUSec|t|1|100000|CPUQuotaPerSecUSec|t|1|" INFINITE "|");
	limits_are("{\"cpu\": {\"cpus\": \"0-3,9\", \"mems\": \"0\"}}",
		   "AllowedCPUs|ay|2|15|2|AllowedMemoryNodes|ay|1|1|");
	limits_are("{\"pids\": {\"limit\": 10}}", "TasksMax|t|1|10|");
	limits_are("{\"pids\": {\"limit\": -1}}", "TasksMax|t|1|" INFINITE "|");
	limits_are("{\"pids\": {\"limit\": 0}}", "TasksMax|t|1|1|");
	limits_are("{\"blockIO\": {\"weight\": 1000}}", "IOWeight|t|1|10000|");
	limits_are(
		"{\"unified\": {\"memory.high\": \"100\", \"memory.max\": \"max\", "
		"\"cpu.max\": \"max 50000\", \"cpuset.cpus\": \"1\", \"hugetlb.2MB.max\": \"0\"}}",
		"MemoryHigh|t|1|100|MemoryMax|t|1|" INFINITE
		"|CPUQuotaPeriodUSec|t|1|50000|CPUQuotaPerSecUSec|t|1|" INFINITE
		"|AllowedCPUs|ay|1|2|");
}

/* Where systemd has the controllers in v1: its values, and what it does not know there left out. */
static void limits_become_properties_of_v1(void **state)
{
	(void)state;
	properties_are("{\"memory\": {\"limit\": 100, \"swap\": 150, \"reservation\": 50}}", true,
		       "MemoryMax|t|1|100|");
	properties_are("{\"memory\": {\"limit\": -1}}", true, "MemoryMax|t|1|" INFINITE "|");
	properties_are("{\"cpu\": {\"shares\": 1024, \"cpus\": \"0\", \"mems\": \"0\"}}", true,
		       "CPUShares|t|1|1024|");
	properties_are("{\"cpu\": {\"shares\": 1}}", true, "CPUShares|t|1|2|");
	properties_are("{\"cpu\": {\"shares\": 300000}}", true, "CPUShares|t|1|262144|");
	properties_are("{\"cpu\": {\"shares\": 1024, \"idle\": 1}}", true, "");
	properties_are("{\"cpu\": {\"quota\": 50000}}", true,
		       "CPUQuotaPeriodUSec|t|1|100000|CPUQuotaPerSecUSec|t|1|500000|");
	properties_are("{\"pids\": {\"limit\": 0}, \"blockIO\": {\"weight\": 500}}", true,
		       "TasksMax|t|1|1|BlockIOWeight|t|1|500|");
	properties_are("{\"unified\": {\"memory.high\": \"100\"}}", true, "");
}

/* ---- devices ----------------------------------------------------------------------------------- */

static int add_devices(const char *json, struct strbuf *request, struct error *err)
{
	struct arena arena = { 0 };
	struct oci_resources *resources;
	int r;

	assert_int_equal(oci_resources_parse(json, strlen(json), &arena, &resources, err), 0);
	r = systemd_request_add_devices(request, &resources->devices, err);
	arena_free(&arena);
	return r;
}

/* Those that every container may have: mknod of all, and what is in config-linux.md. */
#define DEFAULTS                                                                                    \
	"block-*|m|char-*|m|/dev/char/10:200|rwm|char-136|rwm|/dev/char/5:2|rwm|/dev/char/5:1|rwm|" \
	"/dev/char/5:0|rwm|/dev/char/1:9|rwm|/dev/char/1:8|rwm|/dev/char/1:7|rwm|"                  \
	"/dev/char/1:5|rwm|/dev/char/1:3|rwm|"
#define STRICT "DevicePolicy|s|1|strict|DeviceAllow|a(ss)|0|DeviceAllow|a(ss)|"

static void devices_become_properties(void **state)
{
	static const struct {
		const char *rules, *expected;
	} table[] = {
		{ "[]", STRICT "12|" DEFAULTS },
		{ "[{\"allow\": false}]", STRICT "12|" DEFAULTS },
		{ "[{\"allow\": false}, {\"allow\": true, \"type\": \"b\", \"major\": 8, \"minor\": 1, "
		  "\"access\": \"r\"}, {\"allow\": true, \"type\": \"c\", \"major\": 10}]",
		  STRICT "14|/dev/block/8:1|r|char-10|rwm|" DEFAULTS },
		/* allowed and taken back */
		{ "[{\"allow\": true, \"type\": \"b\", \"major\": 8, \"minor\": 1}, {\"allow\": false, \"type\": "
		  "\"b\", \"major\": 8, \"access\": \"rw\"}]",
		  STRICT "13|/dev/block/8:1|m|" DEFAULTS },
		{ "[{\"allow\": true}]", "DevicePolicy|s|1|auto|DeviceAllow|a(ss)|0|" },
	};
	static const char *const bad[] = {
		/* systemd knows no denial, and no minor number of all majors */
		"[{\"allow\": true}, {\"allow\": false, \"type\": \"c\", \"major\": 1, \"minor\": 11}]",
		"[{\"allow\": true, \"type\": \"c\", \"minor\": 11}]",
		/* v1 knows no hole in what is allowed */
		"[{\"allow\": true, \"type\": \"c\", \"major\": 4}, {\"allow\": false, \"type\": \"c\", "
		"\"major\": 4, \"minor\": 11}]",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct strbuf request = { 0 };
		struct error err = { 0 };
		char json[512], found[1024];

		snprintf(json, sizeof(json), "{\"devices\": %s}", table[i].rules);
		if (add_devices(json, &request, &err) < 0)
			fail_msg("%s: %s", json, err.text);
		fields(&request, found, sizeof(found));
		assert_string_equal(found, table[i].expected);
		strbuf_free(&request);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct strbuf request = { 0 };
		struct error err = { 0 };
		char json[512];

		snprintf(json, sizeof(json), "{\"devices\": %s}", bad[i]);
		if (add_devices(json, &request, &err) != -EOPNOTSUPP)
			fail_msg("%s is not refused", json);
		assert_non_null(strstr(err.text, "linux.resources.devices"));
		strbuf_free(&request);
	}
}

static void bad_cpu_lists_are_refused(void **state)
{
	static const char *const bad[] = { "a",   "1-",   "-1",     "1--2",
					   "0x1", "8192", "0-8192", "99999999999999999999" };
	char text[SYSTEMD_MASK_TEXT];
	unsigned bytes;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (systemd_cpu_mask(bad[i], text, &bytes) != -EINVAL)
			fail_msg("%s is not refused", bad[i]);
	assert_true(systemd_cpu_mask("0-8191", text, &bytes) > 0);
	assert_int_equal(bytes, SYSTEMD_MASK_BYTES);
	assert_int_equal(systemd_cpu_mask("", text, &bytes), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_follow_from_cgroups_path),
		cmocka_unit_test(bad_names_are_refused),
		cmocka_unit_test(a_small_buffer_for_the_path_is_not_overrun),
		cmocka_unit_test(annotations_become_properties),
		cmocka_unit_test(seconds_become_microseconds),
		cmocka_unit_test(bad_annotations_are_refused),
		cmocka_unit_test(a_hostile_value_is_bounded),
		cmocka_unit_test(limits_become_properties),
		cmocka_unit_test(limits_become_properties_of_v1),
		cmocka_unit_test(devices_become_properties),
		cmocka_unit_test(bad_cpu_lists_are_refused),
	};

	return cmocka_run_group_tests_name("systemd", tests, NULL, NULL);
}
