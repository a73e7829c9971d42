/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "catalog-private.h"

static char *
classes_to_text (GHashTable *classes, GError **error)
{
  const BkVmInfo vm = { .classes = classes };
  g_autoptr (json_object) json = bk_struct_to_json (&bk_vm_info_struct, &vm);
  json_object *member = NULL;
  json_object_object_get_ex (json, "classes", &member);
  char *text = NULL;
  return bk_exact_from_json (member, &text, error) ? text : NULL;
}

static GHashTable *
classes_from_text (const char *text, GError **error)
{
  g_autoptr (json_object) json = json_object_new_object ();
  json_object *member = NULL;
  if (!bk_exact_to_json (text, &member, error))
    return NULL;
  json_object_object_add (json, "name", json_object_new_string (""));
  json_object_object_add (json, "classes", member);
  g_autoptr (BkVmInfo) vm = bk_struct_from_json (&bk_vm_info_struct, json, error);
  return vm ? g_steal_pointer (&vm->classes) : NULL;
}

gboolean
bk_catalog_add_vm (BkCatalog *catalog, const BkVmInfo *vm, GError **error)
{
  g_autoptr (GError) inner = NULL;
  g_autofree char *classes = classes_to_text (vm->classes, error);
  if (classes == NULL)
    return FALSE;
  g_autoptr (BkStatement) insert = bk_statement_new (catalog->sql,
      "INSERT INTO vm (name, qmp, agent, classes, added_at, libvirt_uri, domain, uuid) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", error);
  if (insert == NULL)
    return FALSE;
  bk_statement_bind_text (insert, vm->name);
  bk_statement_bind_text (insert, vm->qmp);
  bk_statement_bind_text (insert, vm->agent);
  bk_statement_bind_text (insert, classes);
  bk_statement_bind_int (insert, vm->added_at);
  bk_statement_bind_text (insert, vm->libvirt);
  bk_statement_bind_text (insert, vm->domain);
  bk_statement_bind_text (insert, vm->uuid);
  if (bk_statement_run (insert, &inner))
    return TRUE;
  if (g_error_matches (inner, BK_ERROR, BK_ERROR_CONFLICT))
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT,
                 "there is a VM '%s' already: choose another name, or remove it first", vm->name);
  else
    g_propagate_error (error, g_steal_pointer (&inner));
  return FALSE;
}

static BkVmInfo *
vm_of_row (BkCatalog *catalog, BkStatement *row, GError **error)
{
  g_autoptr (BkVmInfo) vm = g_new0 (BkVmInfo, 1);
  GError *inner = NULL;
  vm->name = g_strdup (bk_statement_text (row, 0));
  vm->qmp = g_strdup (bk_statement_text (row, 1));
  vm->agent = g_strdup (bk_statement_text (row, 2));
  vm->classes = classes_from_text (bk_statement_text (row, 3), &inner);
  vm->added_at = bk_statement_int (row, 4);
  vm->libvirt = g_strdup (bk_statement_text (row, 5));
  vm->domain = g_strdup (bk_statement_text (row, 6));
  vm->uuid = g_strdup (bk_statement_text (row, 7));
  return vm->classes ? g_steal_pointer (&vm) : bk_catalog_unreadable (catalog, "VM", vm->name, inner, error);
}

GPtrArray *
bk_catalog_list_vms (BkCatalog *catalog, GError **error)
{
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql,
      "SELECT name, qmp, agent, classes, added_at, libvirt_uri, domain, uuid FROM vm ORDER BY name", error);
  if (select == NULL)
    return NULL;
  g_autoptr (GPtrArray) vms = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_vm_info_free);
  BkStepResult result;
  while ((result = bk_statement_step (select, error)) == BK_STEP_ROW) {
    BkVmInfo *vm = vm_of_row (catalog, select, error);
    if (vm == NULL)
      return NULL;
    g_ptr_array_add (vms, vm);
  }
  return result == BK_STEP_END ? g_steal_pointer (&vms) : NULL;
}

gboolean
bk_catalog_rename_domain (BkCatalog *catalog, const char *name, const char *domain, GError **error)
{
  g_autoptr (BkStatement) update = bk_statement_new (catalog->sql, "UPDATE vm SET domain = ? WHERE name = ?", error);
  if (update == NULL)
    return FALSE;
  bk_statement_bind_text (update, domain);
  bk_statement_bind_text (update, name);
  return bk_statement_run (update, error);
}

gboolean
bk_catalog_remove_vm (BkCatalog *catalog, const char *name, GError **error)
{
  /* Its checkpoints go by ON DELETE CASCADE. */
  return bk_catalog_remove_named (catalog, "DELETE FROM vm WHERE name = ?", "VM", name,
                                  "SELECT name FROM vm ORDER BY name", error);
}

gboolean
bk_catalog_record_disks (BkCatalog *catalog, const char *vm, json_object *recorded, GError **error)
{
  g_autofree char *text = NULL;
  if (!bk_exact_from_json (recorded, &text, error))
    return FALSE;
  g_autoptr (BkStatement) update = bk_statement_new (catalog->sql, "UPDATE vm SET recorded = ? WHERE name = ?", error);
  if (update == NULL)
    return FALSE;
  bk_statement_bind_text (update, text);
  bk_statement_bind_text (update, vm);
  return bk_statement_run (update, error);
}

gboolean
bk_catalog_recorded_disks (BkCatalog *catalog, const char *vm, json_object **recorded, GError **error)
{
  *recorded = NULL;
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql, "SELECT recorded FROM vm WHERE name = ? AND recorded IS NOT NULL", error);
  if (select == NULL)
    return FALSE;
  bk_statement_bind_text (select, vm);
  BkStepResult result = bk_statement_step (select, error);
  return result == BK_STEP_ROW ? bk_exact_to_json (bk_statement_text (select, 0), recorded, error) : result == BK_STEP_END;
}
