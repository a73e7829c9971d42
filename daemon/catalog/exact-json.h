/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Objects as JSON text of a column. Unlike the JSON of the API it keeps times to the microsecond
 * ("2026-11-23T02:52:00.000001Z"), so that what is read is what was written. Members that a newer version has
 * added are passed over.
 */
#pragma once

#include "bk-json.h"

/* INVALID when it could not be read again: a required member is missing, a text is not UTF-8. A row that
 * cannot be read would spoil every list it is part of. (transfer full) */
char *bk_exact_from_struct (const BkStruct *type, gconstpointer value, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gpointer bk_exact_to_struct (const BkStruct *type, const char *text, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Likewise for plain JSON; NULL is the text NULL and no error. */
gboolean bk_exact_from_json (json_object *json, char **text, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_exact_to_json (const char *text, json_object **json, GError **error) G_GNUC_WARN_UNUSED_RESULT;
