/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptor tables of config.json, for the parser, the printer and their tests. Others use
 * oci/config.h.
 */
#ifndef HULL_OCI_TABLES_H
#define HULL_OCI_TABLES_H

#include "oci/schema.h"

/* config_tables.c */
extern const struct schema oci_config_schema, oci_process_schema;
extern const struct schema oci_id_mapping_schema, oci_mounts_schema;
extern const struct schema_format oci_absolute_path, oci_some_path;

/* linux_tables.c */
extern const struct schema oci_linux_schema;

/* resources_tables.c */
extern const struct schema oci_resources_schema;

/* Indexed by enum oci_namespace_type, and NULL at OCI_NS_COUNT. */
extern const char *const oci_namespace_names[];

/* A schema's "absent": the empty string, which Go writes for a string that is not a pointer. */
bool oci_is_empty_string(const struct json_value *value);

#endif
