/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the files with QMP words in them share: members of JSON objects in and out, and single commands.
 */
#pragma once

#include "qmp-client.h"

/* Set a member, whose value is copied. A NULL string leaves it out. */
void bk_qmp_set_string (json_object *object, const char *member, const char *value);
void bk_qmp_set_bool (json_object *object, const char *member, bool value);
void bk_qmp_set_uint (json_object *object, const char *member, uint64_t value);
/* An object with one string. (transfer full) */
json_object *bk_qmp_object (const char *member, const char *value);

/* NULL, 0 or false when there is no such member, or one of another type. (transfer none) */
const char *bk_qmp_get_string (json_object *object, const char *member);
uint64_t bk_qmp_get_uint (json_object *object, const char *member);
bool bk_qmp_get_bool (json_object *object, const char *member);
json_object *bk_qmp_get_array (json_object *object, const char *member);

/* Runs a command whose answer says nothing. @arguments: (transfer full). Worker threads; errors as in
 * qmp-client.h. */
gboolean bk_qmp_run (BkQmpClient *client, const char *name, json_object *arguments, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Like bk_qmp_client_call(), and the answer must be of @type. */
gboolean bk_qmp_ask (BkQmpClient *client, const char *name, json_object *arguments, enum json_type type, json_object **result, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Runs and clears one call, which says more than a name and arguments. @result: (out) (transfer full), or NULL. */
gboolean bk_qmp_run_call (BkQmpClient *client, BkQmpCall *call, json_object **result, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
