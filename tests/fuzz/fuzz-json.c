/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What can be parsed can be written and parsed again; what can be read into a struct comes out of it the same.
 */
#include "bk-types.h"
#include "fuzz.h"

#include <string.h>

static const char *
text_of (json_object *json)
{
  return json_object_to_json_string_ext (json, JSON_C_TO_STRING_PLAIN);
}

static void
check_struct (const BkStruct *type, json_object *json)
{
  g_autoptr (GError) error = NULL;
  gpointer value = bk_struct_from_json_lax (type, json, &error);
  g_assert ((value == NULL) == (error != NULL));
  if (value == NULL) {
    g_assert (g_error_matches (error, BK_ERROR, BK_ERROR_INVALID));
    return;
  }
  g_autoptr (json_object) once = bk_struct_to_json (type, value);
  gpointer again = bk_struct_from_json (type, once, &error);
  g_assert_no_error (error);
  g_autoptr (json_object) twice = bk_struct_to_json (type, again);
  g_assert_cmpstr (text_of (once), ==, text_of (twice));
  gpointer copy = bk_struct_copy (type, value);
  bk_struct_free (type, value);
  bk_struct_free (type, again);
  bk_struct_free (type, copy);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static const BkStruct *const types[] = { &bk_backup_request_struct, &bk_restore_request_struct, &bk_job_info_struct,
                                           &bk_vm_info_struct,        &bk_backup_info_struct,     &bk_checkpoint_info_struct };
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) json = bk_json_parse ((const char *)data, size, &error);
  g_assert (json == NULL || error == NULL);
  if (json == NULL)
    return 0;
  g_autofree char *text = g_strdup (text_of (json));
  g_autoptr (json_object) again = bk_json_parse (text, strlen (text), &error);
  g_assert_no_error (error);
  g_assert_cmpstr (text, ==, text_of (again));
  for (size_t i = 0; i < G_N_ELEMENTS (types); i++)
    check_struct (types[i], json);
  return 0;
}
