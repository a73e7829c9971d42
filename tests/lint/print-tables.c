/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The daemon's tables as one JSON document, for tests that compare documents with them.
 */
#include "handlers.h"
#include "options.h"
#include "server.h"

#include <stdio.h>

/* Struct tables by the name of their schema. */
static const struct {
  const char *schema;
  const BkStruct *type;
} structs[] = {
  { "JobError", &bk_problem_struct },
  { "Job", &bk_job_info_struct },
  { "JobDisk", &bk_job_disk_struct },
  { "JobStep", &bk_job_step_struct },
  { "BackupRequest", &bk_backup_request_struct },
  { "HookRun", &bk_hook_run_struct },
  { "QuiesceResult", &bk_quiesce_info_struct },
  { "RestoreRequest", &bk_restore_request_struct },
  { "VerifyRequest", &bk_verify_request_struct },
  { "GcRequest", &bk_gc_request_struct },
  { "CopyRequest", &bk_copy_request_struct },
  { "Plan", &bk_plan_info_struct },
  { "PlanDisk", &bk_plan_disk_info_struct },
  { "Disk", &bk_disk_info_struct },
  { "Vm", &bk_vm_info_struct },
  { "ClassChunkSize", &bk_class_chunk_size_struct },
  { "Domain", &bk_domain_info_struct },
  { "Finding", &bk_finding_struct },
  { "Diagnosis", &bk_diagnosis_struct },
  { "Repository", &bk_repository_info_struct },
  { "Backup", &bk_backup_info_struct },
  { "BackupDisk", &bk_backup_disk_struct },
  { "Checkpoint", &bk_checkpoint_info_struct },
  { "CheckpointDisk", &bk_checkpoint_disk_struct },
  { "CheckpointRequest", &bk_checkpoint_request_struct },
  { "ExportRequest", &bk_export_request_struct },
  { "Export", &bk_export_info_struct },
  { "ExportDisk", &bk_export_disk_struct },
  { "ExportEnd", &bk_export_end_struct },
  { "ServeRequest", &bk_serve_request_struct },
  { "Serve", &bk_serve_info_struct },
  { "Problem", &bk_problem_document_struct },
  { "SpeedRequest", &bk_speed_request_struct },
  { "Health", &bk_health_struct },
};

static const struct {
  const char *schema;
  const char *const *words;
} enums[] = {
  { "JobState", bk_job_states },
  { "JobKind", bk_job_kinds },
  { "FindingState", bk_finding_states },
  { "Mode", bk_modes },
  { "Level", bk_levels },
  { "Quiesce", bk_quiesce },
  { "HookFailure", bk_hook_failures },
  { "Format", bk_formats },
  { "Sync", bk_syncs },
  { "SourceErrorAction", bk_source_errors },
  { "TargetErrorAction", bk_target_errors },
  { "RepositoryType", bk_repo_types },
  { "RepositoryEncryption", bk_repo_encryptions },
  { "ExportState", bk_export_states },
  { "ExportResult", bk_export_results },
};

static json_object *
strings (const char *const *words)
{
  json_object *array = json_object_new_array ();
  for (size_t i = 0; words && words[i]; i++)
    json_object_array_add (array, json_object_new_string (words[i]));
  return array;
}

static const char *
schema_of (const BkStruct *type)
{
  for (size_t i = 0; i < G_N_ELEMENTS (structs); i++)
    if (structs[i].type == type)
      return structs[i].schema;
  return NULL;
}

static const char *
type_name (BkFieldType type)
{
  switch (type) {
  case BK_FIELD_STRING:
    return "string";
  case BK_FIELD_BOOL:
    return "boolean";
  case BK_FIELD_UINT64:
  case BK_FIELD_INT64:
    return "integer";
  case BK_FIELD_TIME:
    return "time";
  case BK_FIELD_STRV:
    return "strings";
  case BK_FIELD_MAP:
    return "map";
  case BK_FIELD_OBJECT:
    return "object";
  case BK_FIELD_ARRAY:
    return "array";
  }
  g_assert_not_reached ();
}

static json_object *
field_to_json (const BkField *field)
{
  json_object *json = json_object_new_object ();
  json_object_object_add (json, "name", json_object_new_string (field->name));
  json_object_object_add (json, "type", json_object_new_string (type_name (field->type)));
  json_object_object_add (json, "required", json_object_new_boolean ((field->flags & BK_FIELD_REQUIRED) != 0));
  json_object_object_add (json, "values", strings (field->values));
  if (field->sub) {
    const char *schema = schema_of (field->sub);
    json_object_object_add (json, "sub", json_object_new_string (schema ? schema : "(not in print-tables.c)"));
  }
  return json;
}

static json_object *
fields_to_json (const BkStruct *type)
{
  json_object *array = json_object_new_array ();
  for (const BkField *field = type->fields; field->name; field++)
    json_object_array_add (array, field_to_json (field));
  return array;
}

static json_object *
errors_to_json (void)
{
  json_object *array = json_object_new_array ();
  for (unsigned code = 0; code < BK_ERROR_LAST; code++)
    json_object_array_add (array, json_object_new_string (bk_error_entry ((BkErrorCode)code)->name));
  return array;
}

int
main (void)
{
  g_autoptr (json_object) all = json_object_new_object ();
  g_auto (GStrv) routes = bk_server_routes ();
  json_object *by_schema = json_object_new_object ();
  json_object *words = json_object_new_object ();
  for (size_t i = 0; i < G_N_ELEMENTS (structs); i++)
    json_object_object_add (by_schema, structs[i].schema, fields_to_json (structs[i].type));
  for (size_t i = 0; i < G_N_ELEMENTS (enums); i++)
    json_object_object_add (words, enums[i].schema, strings (enums[i].words));
  json_object_object_add (words, "ErrorCode", errors_to_json ());
  json_object_object_add (all, "version", json_object_new_string (BK_VERSION));
  json_object_object_add (all, "routes", strings ((const char *const *)routes));
  json_object_object_add (all, "structs", by_schema);
  json_object_object_add (all, "enums", words);
  json_object_object_add (all, "config_keys", strings (bk_options_keys ()));
  puts (json_object_to_json_string_ext (all, JSON_C_TO_STRING_PRETTY));
  return 0;
}
