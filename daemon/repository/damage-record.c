/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "damage-record.h"

#include "bk-json-table.h"

#include <string.h>

#define LIMIT (16u * 1024 * 1024)

static const BkField bk_damage_range_fields[] = {
  STRING (BkDamageRange, disk, 0),
  UINT64 (BkDamageRange, offset, 0),
  UINT64 (BkDamageRange, length, 0),
  STRING (BkDamageRange, reason, 0),
  END,
};
STRUCT (BkDamageRange, bk_damage_range, "damaged range");

static const BkField bk_damage_record_fields[] = {
  TIME (BkDamageRecord, verified_at, 0),
  ARRAY (BkDamageRecord, ranges, bk_damage_range_struct, 0),
  END,
};
STRUCT (BkDamageRecord, bk_damage_record, "damage");

BkDamageRecord *
bk_damage_record_read (BkRepository *repository, const char *vm, const char *backup)
{
  g_autofree char *object = bk_repository_object ("damage/backups", vm, backup);
  g_autofree char *text = NULL;
  size_t length = 0;
  if (!bk_storage_get (repository->storage, object, LIMIT, &text, &length, NULL))
    return NULL;
  json_object *json = bk_json_parse (text, length, NULL);
  BkDamageRecord *record = json ? bk_struct_from_json_lax (&bk_damage_record_struct, json, NULL) : NULL;
  json_object_put (json);
  return record;
}

void
bk_damage_record_write (BkRepository *repository, const char *vm, const char *backup, const BkDamageRecord *record)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *object = bk_repository_object ("damage/backups", vm, backup);
  json_object *json = bk_struct_to_json (&bk_damage_record_struct, record);
  const char *text = json_object_to_json_string_ext (json, JSON_C_TO_STRING_PRETTY);
  if (!bk_storage_put (repository->storage, object, text, strlen (text), true, &error))
    g_warning ("what the verification found is not kept: %s", error->message);
  json_object_put (json);
}

void
bk_damage_record_remove (BkRepository *repository, const char *vm, const char *backup)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *object = bk_repository_object ("damage/backups", vm, backup);
  if (!bk_storage_remove (repository->storage, object, &error))
    g_debug ("%s", error->message);
}
