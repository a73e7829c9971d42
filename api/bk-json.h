/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Structs to JSON and back, by table: one BkField array per struct serves reading, writing, freeing and
 * the text of errors, so that the two directions cannot drift apart. Pure; any thread.
 */
#pragma once

#include "bk-error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
  BK_FIELD_STRING, /* char *, owned; NULL is null */
  BK_FIELD_BOOL,   /* bool */
  BK_FIELD_UINT64, /* uint64_t; JSON integers up to 2^63-1, as in json-c and most clients */
  BK_FIELD_INT64,  /* int64_t; a negative number is null where BK_FIELD_NULL_IF_NEGATIVE is set */
  BK_FIELD_TIME,   /* int64_t, microseconds since 1970 UTC; 0 is null; RFC 3339 in JSON, UTC, "Z" */
  BK_FIELD_STRV,   /* GStrv, owned; NULL is [] */
  BK_FIELD_MAP,    /* GHashTable of char * to char *, owned; NULL is {} */
  BK_FIELD_OBJECT, /* pointer to a struct described by .sub, owned; NULL is null */
  BK_FIELD_ARRAY,  /* GPtrArray of such pointers, owned; NULL is [] */
} BkFieldType;

typedef enum {
  BK_FIELD_REQUIRED = 1 << 0,         /* absent or null is an error when read */
  BK_FIELD_NULL_IF_NEGATIVE = 1 << 1, /* for BK_FIELD_INT64 */
  BK_FIELD_OMIT_IF_EMPTY = 1 << 2,    /* not written when null, empty, zero or false */
} BkFieldFlags;

typedef struct BkStruct BkStruct;

typedef struct {
  const char *name; /* of the JSON member; NULL ends the table */
  BkFieldType type;
  size_t offset;
  unsigned flags;
  const BkStruct *sub;       /* for OBJECT and ARRAY */
  const char *const *values; /* for STRING: the allowed words, NULL-terminated; NULL = any */
} BkField;

struct BkStruct {
  const char *name; /* for error texts: "backup request" */
  size_t size;
  const BkField *fields;
};

/* Returns: (transfer full) a new JSON object (json_object_put() it). */
json_object *bk_struct_to_json (const BkStruct *type, gconstpointer value);

/* Reads @json into a newly allocated struct. Unknown members, wrong types, missing required members and
 * words outside .values are BK_ERROR_INVALID; the message starts with a JSON pointer: "/disks/1: must be a
 * string". Returns: (transfer full) free with bk_struct_free(). */
gpointer bk_struct_from_json (const BkStruct *type, json_object *json, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Like bk_struct_from_json() but passes over unknown members: for answers of a newer daemon and rows of a
 * newer minor version. */
gpointer bk_struct_from_json_lax (const BkStruct *type, json_object *json, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A deep copy; NULL gives NULL. */
gpointer bk_struct_copy (const BkStruct *type, gconstpointer value);

/* Frees what the struct owns and the struct; NULL is allowed. */
void bk_struct_free (const BkStruct *type, gpointer value);

/* Parses one JSON document of @length bytes. BK_ERROR_INVALID with the byte offset for anything but exactly
 * one value; nesting is limited to 64. Returns: (transfer full). The value null is returned as NULL without
 * an error. */
json_object *bk_json_parse (const char *text, size_t length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Likewise with another limit of nesting: QEMU's replies nest once for each image of a chain. */
json_object *bk_json_parse_nested (const char *text, size_t length, unsigned depth, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* RFC 3339 text of @time_us in UTC with seconds, "2026-11-23T02:52:00Z"; (transfer full). */
char *bk_time_format (int64_t time_us);

/* 0 when @text is no RFC 3339 time, or none after 1970 began. */
int64_t bk_time_parse (const char *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (json_object, json_object_put)
