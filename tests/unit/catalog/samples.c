/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "samples.h"

#include "suite.h"

#include <string.h>

static const char *const pieces[] = {
  "a", "Z", "0", " ", "'", "\"", "\\", "/", "%", "_", ";--", "\n", "\t", "\x01", "\x7f", "?1",
  "é", "€", "𝄞", "{}", "NULL",
};

static char *
some_text (GRand *rand)
{
  g_autoptr (GString) text = g_string_new (NULL);
  for (int i = g_rand_int_range (rand, 1, 12); i > 0; i--)
    g_string_append (text, pieces[g_rand_int_range (rand, 0, G_N_ELEMENTS (pieces))]);
  return g_string_free (g_steal_pointer (&text), FALSE);
}

static char *
some_word (const BkField *field, GRand *rand)
{
  if (field->values == NULL)
    return some_text (rand);
  return g_strdup (field->values[g_rand_int_range (rand, 0, (int)g_strv_length ((char **)field->values))]);
}

static uint64_t
some_number (GRand *rand)
{
  uint64_t number = (uint64_t)g_rand_int (rand) << 32 | g_rand_int (rand);
  return (number & INT64_MAX) >> g_rand_int_range (rand, 0, 63);
}

/* Until the year 2255. */
static int64_t
some_time (GRand *rand)
{
  return 1 + (int64_t)(some_number (rand) % (UINT64_C (9000000000) * G_USEC_PER_SEC));
}

static GHashTable *
some_map (GRand *rand)
{
  GHashTable *map = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  for (int i = g_rand_int_range (rand, 0, 4); i > 0; i--)
    g_hash_table_insert (map, some_text (rand), some_text (rand));
  return map;
}

static GStrv
some_strv (GRand *rand)
{
  int count = g_rand_int_range (rand, 0, 4);
  GStrv strv = g_new0 (char *, count + 1);
  for (int i = 0; i < count; i++)
    strv[i] = some_text (rand);
  return strv;
}

static GPtrArray *
some_array (const BkStruct *type, GRand *rand, bool sparse)
{
  GPtrArray *array = g_ptr_array_new ();
  for (int i = g_rand_int_range (rand, 0, 4); i > 0; i--)
    g_ptr_array_add (array, sample_struct (type, rand, sparse));
  return array;
}

static void
fill (const BkField *field, gpointer at, GRand *rand, bool sparse)
{
  switch (field->type) {
  case BK_FIELD_STRING:
    *(char **)at = some_word (field, rand);
    break;
  case BK_FIELD_BOOL:
    *(bool *)at = g_rand_boolean (rand);
    break;
  case BK_FIELD_UINT64:
    *(uint64_t *)at = some_number (rand);
    break;
  case BK_FIELD_INT64:
    *(int64_t *)at = (int64_t)some_number (rand);
    break;
  case BK_FIELD_TIME:
    *(int64_t *)at = some_time (rand);
    break;
  case BK_FIELD_STRV:
    *(GStrv *)at = some_strv (rand);
    break;
  case BK_FIELD_MAP:
    *(GHashTable **)at = some_map (rand);
    break;
  case BK_FIELD_OBJECT:
    *(gpointer *)at = sample_struct (field->sub, rand, sparse);
    break;
  case BK_FIELD_ARRAY:
    *(GPtrArray **)at = some_array (field->sub, rand, sparse);
    break;
  }
}

gpointer
sample_struct (const BkStruct *type, GRand *rand, bool sparse)
{
  gpointer value = g_malloc0 (type->size);
  for (const BkField *field = type->fields; field->name; field++) {
    gpointer at = (char *)value + field->offset;
    bool empty = sparse && !(field->flags & BK_FIELD_REQUIRED) && g_rand_boolean (rand);
    if (!empty)
      fill (field, at, rand, sparse);
    else if (field->flags & BK_FIELD_NULL_IF_NEGATIVE)
      *(int64_t *)at = -1;
  }
  return value;
}

static void
assert_equal_times (const BkStruct *type, gconstpointer got, gconstpointer wanted)
{
  for (const BkField *field = type->fields; field->name; field++) {
    gconstpointer a = (const char *)got + field->offset;
    gconstpointer b = (const char *)wanted + field->offset;
    if (field->type == BK_FIELD_TIME)
      ck_assert_msg (*(const int64_t *)a == *(const int64_t *)b, "%s of a %s is %ld, not %ld", field->name, type->name,
                     *(const int64_t *)a, *(const int64_t *)b);
    if (field->type == BK_FIELD_OBJECT && *(gpointer const *)a)
      assert_equal_times (field->sub, *(gpointer const *)a, *(gpointer const *)b);
    GPtrArray *items = field->type == BK_FIELD_ARRAY ? *(GPtrArray *const *)a : NULL;
    for (unsigned i = 0; items && i < items->len; i++)
      assert_equal_times (field->sub, items->pdata[i], (*(GPtrArray *const *)b)->pdata[i]);
  }
}

static void
assert_equal_json (json_object *got, json_object *wanted)
{
  const char *text = json_object_to_json_string_ext (got, JSON_C_TO_STRING_PLAIN);
  ck_assert_str_eq (text, json_object_to_json_string_ext (wanted, JSON_C_TO_STRING_PLAIN));
}

void
sample_assert_equal (const BkStruct *type, gconstpointer got, gconstpointer wanted)
{
  ck_assert_ptr_nonnull (got);
  g_autoptr (json_object) a = bk_struct_to_json (type, got);
  g_autoptr (json_object) b = bk_struct_to_json (type, wanted);
  assert_equal_json (a, b);
  assert_equal_times (type, got, wanted);
}

static json_object *
some_json (GRand *rand)
{
  json_object *json = json_object_new_object ();
  g_autofree char *text = some_text (rand);
  json_object_object_add (json, text, json_object_new_double (g_rand_double (rand)));
  json_object_object_add (json, "null", NULL);
  json_object_object_add (json, "text", json_object_new_string (text));
  return json;
}

BkJobRecord *
sample_job (GRand *rand, const char *id)
{
  BkJobRecord *record = g_new0 (BkJobRecord, 1);
  record->info = sample_struct (&bk_job_info_struct, rand, true);
  record->request = some_json (rand);
  record->run = g_rand_boolean (rand) ? some_json (rand) : NULL;
  record->settled = g_rand_boolean (rand);
  if (id) {
    g_free (record->info->id);
    record->info->id = g_strdup (id);
  }
  return record;
}

void
sample_assert_equal_job (const BkJobRecord *got, const BkJobRecord *wanted)
{
  ck_assert_ptr_nonnull (got);
  sample_assert_equal (&bk_job_info_struct, got->info, wanted->info);
  ck_assert_uint_eq (got->number, wanted->number);
  ck_assert_int_eq (got->settled, wanted->settled);
  assert_equal_json (got->request, wanted->request);
  assert_equal_json (got->run, wanted->run);
}

BkJobRecord *
sample_small_job (const char *id, const char *vm, const char *state)
{
  BkJobRecord *record = g_new0 (BkJobRecord, 1);
  record->info = g_new0 (BkJobInfo, 1);
  record->info->id = g_strdup (id);
  record->info->kind = g_strdup ("backup");
  record->info->vm = g_strdup (vm);
  record->info->state = g_strdup (state);
  record->info->created_at = 1795402200123456;
  record->info->eta_seconds = -1;
  return record;
}

BkBackupInfo *
sample_backup (const char *id, const char *vm, const char *repository, int64_t point_in_time, const char *parent)
{
  BkBackupDisk *disk = g_new0 (BkBackupDisk, 1);
  disk->name = g_strdup ("vda");
  disk->level = g_strdup (parent ? "incremental" : "full");
  disk->state = g_strdup ("completed");
  disk->parent = g_strdup (parent);
  BkBackupInfo *backup = g_new0 (BkBackupInfo, 1);
  backup->version = 1;
  backup->id = g_strdup (id);
  backup->vm = g_strdup (vm);
  backup->repository = g_strdup (repository);
  backup->state = g_strdup ("completed");
  backup->point_in_time = point_in_time;
  backup->disks = g_ptr_array_new ();
  g_ptr_array_add (backup->disks, disk);
  return backup;
}

BkCheckpointInfo *
sample_checkpoint (const char *id, const char *name, const char *vm, const char *parent)
{
  BkCheckpointDisk *disk = g_new0 (BkCheckpointDisk, 1);
  disk->name = g_strdup ("vda");
  disk->bitmap = g_strconcat ("bkd-123456-cp-", id, NULL);
  disk->parent = g_strdup (parent);
  disk->state = g_strdup ("provisional");
  disk->size = UINT64_C (1) << 40;
  disk->persistent = true;
  BkCheckpointInfo *checkpoint = g_new0 (BkCheckpointInfo, 1);
  checkpoint->id = g_strdup (id);
  checkpoint->name = g_strdup (name);
  checkpoint->vm = g_strdup (vm);
  checkpoint->created_at = 1795402200654321;
  checkpoint->disks = g_ptr_array_new ();
  g_ptr_array_add (checkpoint->disks, disk);
  return checkpoint;
}

void
sample_add_vm (BkCatalog *catalog, const char *name)
{
  g_autoptr (GError) error = NULL;
  const BkVmInfo vm = { .name = (char *)name, .qmp = (char *)"/run/vm.qmp", .added_at = 1795402200000001 };
  ck_assert_msg (bk_catalog_add_vm (catalog, &vm, &error), "%s", error ? error->message : "");
}

void
sample_add_repository (BkCatalog *catalog, const char *name)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = g_strconcat ("/backup/", name, NULL);
  const BkRepositoryInfo repository = { .name = (char *)name, .type = (char *)"qcow2", .path = path, .created_at = 7 };
  ck_assert_msg (bk_catalog_add_repository (catalog, &repository, &error), "%s", error ? error->message : "");
}

BkCatalog *
sample_open (const char *folder)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *new_folder = folder ? NULL : bk_suite_folder ();
  BkCatalog *catalog = bk_catalog_open (folder ? folder : new_folder, &error);
  bk_assert_no_error (error);
  return catalog;
}
