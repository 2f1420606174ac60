"""Every public name of detectron2 0.6 (main branch, June 2026): what it has, not what lite has.

From these names ``_missing.py`` knows whether the full detectron2 has a name that lite lacks.
"""

# Submodules, by parent.
_SUBMODULES = {
    "detectron2": (
        "checkpoint config data engine evaluation export layers model_zoo modeling projects "
        "solver structures tracking utils"
    ),
    "detectron2.checkpoint": "c2_model_loading catalog detection_checkpoint",
    "detectron2.config": "compat config defaults instantiate lazy",
    "detectron2.data": (
        "benchmark build catalog common dataset_mapper datasets detection_utils samplers transforms"
    ),
    "detectron2.data.datasets": (
        "builtin builtin_meta cityscapes cityscapes_panoptic coco coco_panoptic lvis "
        "lvis_v0_5_categories lvis_v1_categories lvis_v1_category_image_count pascal_voc "
        "register_coco"
    ),
    "detectron2.data.samplers": "distributed_sampler grouped_batch_sampler",
    "detectron2.data.transforms": "augmentation augmentation_impl transform",
    "detectron2.engine": "defaults hooks launch train_loop",
    "detectron2.evaluation": (
        "cityscapes_evaluation coco_evaluation evaluator fast_eval_api lvis_evaluation "
        "panoptic_evaluation pascal_voc_evaluation rotated_coco_evaluation sem_seg_evaluation "
        "testing"
    ),
    "detectron2.export": (
        "api c10 caffe2_export caffe2_inference caffe2_modeling caffe2_patch flatten shared "
        "torchscript torchscript_patch"
    ),
    "detectron2.layers": (
        "aspp batch_norm blocks deform_conv losses mask_ops nms roi_align roi_align_rotated "
        "rotated_boxes shape_spec wrappers"
    ),
    "detectron2.model_zoo": "model_zoo",
    "detectron2.modeling": (
        "anchor_generator backbone box_regression matcher meta_arch mmdet_wrapper poolers "
        "postprocessing proposal_generator roi_heads sampling test_time_augmentation"
    ),
    "detectron2.modeling.backbone": "backbone build fpn mvit regnet resnet swin utils vit",
    "detectron2.modeling.meta_arch": (
        "build dense_detector fcos panoptic_fpn rcnn retinanet semantic_seg"
    ),
    "detectron2.modeling.proposal_generator": "build proposal_utils rpn rrpn",
    "detectron2.modeling.roi_heads": (
        "box_head cascade_rcnn fast_rcnn keypoint_head mask_head roi_heads rotated_fast_rcnn"
    ),
    "detectron2.projects": "deeplab panoptic_deeplab point_rend",
    "detectron2.solver": "build lr_scheduler",
    "detectron2.structures": "boxes image_list instances keypoints masks rotated_boxes",
    "detectron2.tracking": (
        "base_tracker bbox_iou_tracker hungarian_tracker iou_weighted_hungarian_bbox_iou_tracker "
        "utils vanilla_hungarian_bbox_iou_tracker"
    ),
    "detectron2.utils": (
        "analysis collect_env colormap comm develop env events file_io logger memory registry "
        "serialize testing torch_version_utils tracing video_visualizer visualizer"
    ),
}
MODULES = frozenset(
    f"{parent}.{name}" for parent, names in _SUBMODULES.items() for name in names.split()
)

# Classes, functions and constants, by module; those modules of which lite has at least a part.
PUBLIC_NAMES = {
    "detectron2": "setup_environment",
    "detectron2.checkpoint": "Checkpointer DetectionCheckpointer PeriodicCheckpointer",
    "detectron2.checkpoint.c2_model_loading": (
        "align_and_update_state_dicts convert_basic_c2_names convert_c2_detectron_names"
    ),
    "detectron2.checkpoint.catalog": "ModelCatalog ModelCatalogHandler",
    "detectron2.checkpoint.detection_checkpoint": "DetectionCheckpointer",
    "detectron2.config": (
        "CfgNode LazyCall LazyConfig configurable downgrade_config get_cfg global_cfg "
        "set_global_cfg upgrade_config"
    ),
    "detectron2.config.compat": (
        "ConverterV1 ConverterV2 downgrade_config guess_version upgrade_config"
    ),
    "detectron2.config.config": "CfgNode configurable get_cfg set_global_cfg",
    "detectron2.data": (
        "DatasetCatalog DatasetFromList DatasetMapper MapDataset Metadata MetadataCatalog "
        "ToIterableDataset build_batch_data_loader build_detection_test_loader "
        "build_detection_train_loader get_detection_dataset_dicts load_proposals_into_dataset "
        "print_instances_class_histogram"
    ),
    "detectron2.data.build": (
        "build_batch_data_loader build_detection_test_loader build_detection_train_loader "
        "filter_images_with_few_keypoints filter_images_with_only_crowd_annotations "
        "get_detection_dataset_dicts load_proposals_into_dataset print_instances_class_histogram "
        "trivial_batch_collator worker_init_reset_seed"
    ),
    "detectron2.data.catalog": "DatasetCatalog Metadata MetadataCatalog",
    "detectron2.data.common": (
        "AspectRatioGroupedDataset DatasetFromList MapDataset ToIterableDataset "
        "set_default_dataset_from_list_serialize_method"
    ),
    "detectron2.data.dataset_mapper": "DatasetMapper",
    "detectron2.data.datasets": (
        "convert_to_coco_json get_lvis_instances_meta load_coco_json load_lvis_json load_sem_seg "
        "load_voc_instances register_coco_instances register_coco_panoptic "
        "register_coco_panoptic_separated register_lvis_instances register_pascal_voc"
    ),
    "detectron2.data.datasets.builtin": (
        "ADE20K_SEM_SEG_CATEGORIES register_all_ade20k register_all_cityscapes register_all_coco "
        "register_all_lvis register_all_pascal_voc"
    ),
    "detectron2.data.datasets.builtin_meta": (
        "ADE20K_SEM_SEG_CATEGORIES CITYSCAPES_CATEGORIES COCO_CATEGORIES "
        "COCO_PERSON_KEYPOINT_FLIP_MAP COCO_PERSON_KEYPOINT_NAMES KEYPOINT_CONNECTION_RULES"
    ),
    "detectron2.data.datasets.coco": (
        "convert_to_coco_dict convert_to_coco_json load_coco_json load_sem_seg main "
        "register_coco_instances"
    ),
    "detectron2.data.datasets.pascal_voc": "CLASS_NAMES load_voc_instances register_pascal_voc",
    "detectron2.data.detection_utils": (
        "SizeMismatchError annotations_to_instances annotations_to_instances_rotated "
        "build_augmentation build_transform_gen check_image_size check_metadata_consistency "
        "convert_PIL_to_numpy convert_image_to_rgb create_keypoint_hflip_indices "
        "filter_empty_instances gen_crop_transform_with_instance get_bbox "
        "get_fed_loss_cls_weights read_image transform_instance_annotations "
        "transform_keypoint_annotations transform_proposals"
    ),
    "detectron2.data.samplers": (
        "GroupedBatchSampler InferenceSampler RandomSubsetTrainingSampler "
        "RepeatFactorTrainingSampler TrainingSampler"
    ),
    "detectron2.data.samplers.distributed_sampler": (
        "InferenceSampler RandomSubsetTrainingSampler RepeatFactorTrainingSampler TrainingSampler"
    ),
    "detectron2.data.samplers.grouped_batch_sampler": "GroupedBatchSampler",
    "detectron2.data.transforms": (
        "AugInput Augmentation AugmentationList BlendTransform ColorTransform CropTransform "
        "ExtentTransform FixedSizeCrop GridSampleTransform HFlipTransform MinIoURandomCrop "
        "NoOpTransform PILColorTransform PadTransform RandomApply RandomBrightness RandomContrast "
        "RandomCrop RandomCrop_CategoryAreaConstraint RandomExtent RandomFlip RandomLighting "
        "RandomResize RandomRotation RandomSaturation Resize ResizeScale ResizeShortestEdge "
        "ResizeTransform RotationTransform ScaleTransform StandardAugInput Transform TransformGen "
        "TransformList VFlipTransform apply_augmentations apply_transform_gens"
    ),
    "detectron2.data.transforms.augmentation": (
        "AugInput Augmentation AugmentationList StandardAugInput TransformGen apply_augmentations "
        "apply_transform_gens"
    ),
    "detectron2.data.transforms.augmentation_impl": (
        "FixedSizeCrop MinIoURandomCrop RandomApply RandomBrightness RandomContrast RandomCrop "
        "RandomCrop_CategoryAreaConstraint RandomExtent RandomFlip RandomLighting RandomResize "
        "RandomRotation RandomSaturation Resize ResizeScale ResizeShortestEdge"
    ),
    "detectron2.data.transforms.transform": (
        "ColorTransform ExtentTransform HFlip_rotated_box PILColorTransform ResizeTransform "
        "Resize_rotated_box RotationTransform"
    ),
    "detectron2.engine": (
        "AMPTrainer AutogradProfiler BestCheckpointer CallbackHook DEFAULT_TIMEOUT "
        "DefaultPredictor DefaultTrainer EvalHook HookBase IterationTimer LRScheduler "
        "PeriodicCheckpointer PeriodicWriter PreciseBN SimpleTrainer TorchMemoryStats "
        "TorchProfiler TrainerBase create_ddp_model default_argument_parser default_setup "
        "default_writers"
    ),
    "detectron2.engine.defaults": (
        "DefaultPredictor DefaultTrainer create_ddp_model default_argument_parser default_setup "
        "default_writers"
    ),
    "detectron2.engine.hooks": (
        "AutogradProfiler BestCheckpointer CallbackHook EvalHook IterationTimer LRScheduler "
        "PeriodicCheckpointer PeriodicWriter PreciseBN TorchMemoryStats TorchProfiler"
    ),
    "detectron2.engine.launch": "DEFAULT_TIMEOUT launch",
    "detectron2.engine.train_loop": "AMPTrainer HookBase SimpleTrainer TrainerBase",
    "detectron2.evaluation": (
        "COCOEvaluator COCOPanopticEvaluator CityscapesInstanceEvaluator "
        "CityscapesSemSegEvaluator DatasetEvaluator DatasetEvaluators LVISEvaluator "
        "PascalVOCDetectionEvaluator RotatedCOCOEvaluator SemSegEvaluator inference_context "
        "inference_on_dataset print_csv_format verify_results"
    ),
    "detectron2.evaluation.coco_evaluation": "COCOEvaluator COCOevalMaxDets instances_to_coco_json",
    "detectron2.evaluation.evaluator": (
        "DatasetEvaluator DatasetEvaluators inference_context inference_on_dataset"
    ),
    "detectron2.evaluation.pascal_voc_evaluation": "PascalVOCDetectionEvaluator voc_ap voc_eval",
    "detectron2.evaluation.testing": "flatten_results_dict print_csv_format verify_results",
    "detectron2.layers": (
        "ASPP BatchNorm2d CNNBlockBase Conv2d ConvTranspose2d CycleBatchNormList DeformConv "
        "DepthwiseSeparableConv2d FrozenBatchNorm2d Linear ModulatedDeformConv NaiveSyncBatchNorm "
        "ROIAlign ROIAlignRotated ShapeSpec batched_nms batched_nms_rotated cat ciou_loss "
        "cross_entropy diou_loss empty_input_loss_func_wrapper get_norm interpolate "
        "move_device_like nms_rotated nonzero_tuple paste_masks_in_image shapes_to_tensor"
    ),
    "detectron2.layers.batch_norm": (
        "CycleBatchNormList FrozenBatchNorm2d LayerNorm NaiveSyncBatchNorm get_norm"
    ),
    "detectron2.layers.blocks": "CNNBlockBase DepthwiseSeparableConv2d",
    "detectron2.layers.deform_conv": "DeformConv ModulatedDeformConv",
    "detectron2.layers.losses": "ciou_loss diou_loss",
    "detectron2.layers.mask_ops": (
        "BYTES_PER_FLOAT GPU_MEM_LIMIT pad_masks paste_mask_in_image_old paste_masks_in_image "
        "scale_boxes"
    ),
    "detectron2.layers.nms": "batched_nms batched_nms_rotated nms_rotated",
    "detectron2.layers.roi_align": "ROIAlign",
    "detectron2.layers.shape_spec": "ShapeSpec",
    "detectron2.layers.wrappers": (
        "Conv2d TORCH_VERSION cat check_if_dynamo_compiling cross_entropy disable_torch_compiler "
        "empty_input_loss_func_wrapper move_device_like nonzero_tuple shapes_to_tensor"
    ),
    "detectron2.modeling": (
        "ANCHOR_GENERATOR_REGISTRY BACKBONE_REGISTRY Backbone BaseKeypointRCNNHead "
        "BaseMaskRCNNHead DatasetMapperTTA FCOS FPN FastRCNNOutputLayers GeneralizedRCNN "
        "GeneralizedRCNNWithTTA META_ARCH_REGISTRY MMDetBackbone MMDetDetector MViT "
        "PROPOSAL_GENERATOR_REGISTRY PanopticFPN ProposalNetwork ROIHeads ROI_BOX_HEAD_REGISTRY "
        "ROI_HEADS_REGISTRY ROI_KEYPOINT_HEAD_REGISTRY ROI_MASK_HEAD_REGISTRY RPN_HEAD_REGISTRY "
        "ResNet ResNetBlockBase RetinaNet SEM_SEG_HEADS_REGISTRY SemanticSegmentor ShapeSpec "
        "SimpleFeaturePyramid StandardROIHeads SwinTransformer ViT build_anchor_generator "
        "build_backbone build_box_head build_keypoint_head build_mask_head build_model "
        "build_proposal_generator build_resnet_backbone build_roi_heads build_rpn_head "
        "build_sem_seg_head detector_postprocess get_vit_lr_decay_rate make_stage"
    ),
    "detectron2.modeling.anchor_generator": (
        "ANCHOR_GENERATOR_REGISTRY BufferList DefaultAnchorGenerator RotatedAnchorGenerator "
        "build_anchor_generator"
    ),
    "detectron2.modeling.backbone": (
        "BACKBONE_REGISTRY Backbone BasicStem BottleneckBlock FPN MViT RegNet ResNet "
        "ResNetBlockBase SimpleFeaturePyramid SwinTransformer ViT build_backbone "
        "build_resnet_backbone get_vit_lr_decay_rate make_stage"
    ),
    "detectron2.modeling.backbone.backbone": "Backbone",
    "detectron2.modeling.backbone.build": "BACKBONE_REGISTRY build_backbone",
    "detectron2.modeling.backbone.fpn": (
        "BACKBONE_REGISTRY FPN LastLevelMaxPool LastLevelP6P7 build_resnet_fpn_backbone "
        "build_retinanet_resnet_fpn_backbone"
    ),
    "detectron2.modeling.backbone.resnet": (
        "BACKBONE_REGISTRY BasicBlock BasicStem BottleneckBlock DeformBottleneckBlock ResNet "
        "ResNetBlockBase build_resnet_backbone make_stage"
    ),
    "detectron2.modeling.box_regression": (
        "Box2BoxTransform Box2BoxTransformLinear Box2BoxTransformRotated"
    ),
    "detectron2.modeling.matcher": "Matcher",
    "detectron2.modeling.meta_arch": (
        "DenseDetector FCOS GeneralizedRCNN META_ARCH_REGISTRY PanopticFPN ProposalNetwork "
        "RetinaNet SEM_SEG_HEADS_REGISTRY SemanticSegmentor build_model build_sem_seg_head"
    ),
    "detectron2.modeling.meta_arch.build": "META_ARCH_REGISTRY build_model",
    "detectron2.modeling.meta_arch.rcnn": "GeneralizedRCNN META_ARCH_REGISTRY ProposalNetwork",
    "detectron2.modeling.poolers": (
        "ROIPooler assign_boxes_to_levels convert_boxes_to_pooler_format"
    ),
    "detectron2.modeling.postprocessing": "detector_postprocess sem_seg_postprocess",
    "detectron2.modeling.proposal_generator": (
        "PROPOSAL_GENERATOR_REGISTRY RPN RPN_HEAD_REGISTRY StandardRPNHead "
        "build_proposal_generator build_rpn_head"
    ),
    "detectron2.modeling.proposal_generator.build": (
        "PROPOSAL_GENERATOR_REGISTRY build_proposal_generator"
    ),
    "detectron2.modeling.proposal_generator.proposal_utils": (
        "add_ground_truth_to_proposals add_ground_truth_to_proposals_single_image "
        "find_top_rpn_proposals"
    ),
    "detectron2.modeling.proposal_generator.rpn": (
        "PROPOSAL_GENERATOR_REGISTRY RPN RPN_HEAD_REGISTRY StandardRPNHead build_rpn_head"
    ),
    "detectron2.modeling.roi_heads": (
        "BaseKeypointRCNNHead BaseMaskRCNNHead CascadeROIHeads FastRCNNConvFCHead "
        "FastRCNNOutputLayers KRCNNConvDeconvUpsampleHead MaskRCNNConvUpsampleHead ROIHeads "
        "ROI_BOX_HEAD_REGISTRY ROI_HEADS_REGISTRY ROI_KEYPOINT_HEAD_REGISTRY "
        "ROI_MASK_HEAD_REGISTRY RROIHeads Res5ROIHeads StandardROIHeads build_box_head "
        "build_keypoint_head build_mask_head build_roi_heads select_foreground_proposals"
    ),
    "detectron2.modeling.roi_heads.box_head": (
        "FastRCNNConvFCHead ROI_BOX_HEAD_REGISTRY build_box_head"
    ),
    "detectron2.modeling.roi_heads.fast_rcnn": (
        "FastRCNNOutputLayers fast_rcnn_inference fast_rcnn_inference_single_image"
    ),
    "detectron2.modeling.roi_heads.mask_head": (
        "BaseMaskRCNNHead MaskRCNNConvUpsampleHead ROI_MASK_HEAD_REGISTRY build_mask_head "
        "mask_rcnn_inference mask_rcnn_loss"
    ),
    "detectron2.modeling.roi_heads.roi_heads": (
        "ROIHeads ROI_HEADS_REGISTRY Res5ROIHeads StandardROIHeads add_ground_truth_to_proposals "
        "build_roi_heads select_foreground_proposals select_proposals_with_visible_keypoints"
    ),
    "detectron2.modeling.sampling": "subsample_labels",
    "detectron2.solver": (
        "LRMultiplier LRScheduler WarmupCosineLR WarmupMultiStepLR WarmupParamScheduler "
        "build_lr_scheduler build_optimizer get_default_optimizer_params"
    ),
    "detectron2.solver.build": (
        "GradientClipType TORCH_VERSION build_lr_scheduler build_optimizer "
        "get_default_optimizer_params maybe_add_gradient_clipping reduce_param_groups"
    ),
    "detectron2.solver.lr_scheduler": (
        "LRMultiplier WarmupCosineLR WarmupMultiStepLR WarmupParamScheduler"
    ),
    "detectron2.structures": (
        "BitMasks BoxMode Boxes ImageList Instances Keypoints PolygonMasks ROIMasks RotatedBoxes "
        "heatmaps_to_keypoints pairwise_ioa pairwise_iou pairwise_iou_rotated "
        "pairwise_point_box_distance polygons_to_bitmask"
    ),
    "detectron2.structures.boxes": (
        "BoxMode Boxes matched_pairwise_iou pairwise_intersection pairwise_ioa pairwise_iou "
        "pairwise_point_box_distance"
    ),
    "detectron2.structures.image_list": "ImageList",
    "detectron2.structures.instances": "Instances",
    "detectron2.structures.masks": (
        "BitMasks PolygonMasks ROIMasks polygon_area polygons_to_bitmask "
        "rasterize_polygons_within_box"
    ),
    "detectron2.utils.collect_env": (
        "collect_env_info collect_torch_env detect_compute_compatibility get_env_module main "
        "test_nccl_ops"
    ),
    "detectron2.utils.colormap": "colormap random_color random_colors",
    "detectron2.utils.comm": (
        "all_gather create_local_process_group gather get_local_process_group get_local_rank "
        "get_local_size get_rank get_world_size is_main_process reduce_dict shared_random_seed "
        "synchronize"
    ),
    "detectron2.utils.env": (
        "DOC_BUILDING TORCH_VERSION fixup_module_metadata seed_all_rng setup_custom_environment "
        "setup_environment"
    ),
    "detectron2.utils.events": (
        "CommonMetricPrinter EventStorage EventWriter JSONWriter TensorboardXWriter "
        "get_event_storage has_event_storage"
    ),
    "detectron2.utils.file_io": "Detectron2Handler PathHandler PathManager",
    "detectron2.utils.logger": (
        "D2_LOG_BUFFER_SIZE_KEY DEFAULT_LOG_BUFFER_SIZE create_small_table log_every_n "
        "log_every_n_seconds log_first_n setup_logger"
    ),
    "detectron2.utils.memory": "retry_if_cuda_oom",
    "detectron2.utils.registry": "Registry locate",
    "detectron2.utils.video_visualizer": "VideoVisualizer",
    "detectron2.utils.visualizer": "ColorMode GenericMask VisImage Visualizer",
}

# Registered objects, by registry.
REGISTERED = {
    "ANCHOR_GENERATOR": "DefaultAnchorGenerator RotatedAnchorGenerator",
    "BACKBONE": (
        "build_resnet_backbone build_resnet_fpn_backbone build_retinanet_resnet_fpn_backbone"
    ),
    "META_ARCH": "GeneralizedRCNN PanopticFPN ProposalNetwork RetinaNet SemanticSegmentor",
    "PROPOSAL_GENERATOR": "RPN RRPN",
    "ROI_BOX_HEAD": "FastRCNNConvFCHead",
    "ROI_HEADS": "CascadeROIHeads RROIHeads Res5ROIHeads StandardROIHeads",
    "ROI_KEYPOINT_HEAD": "KRCNNConvDeconvUpsampleHead",
    "ROI_MASK_HEAD": "MaskRCNNConvUpsampleHead",
    "RPN_HEAD": "StandardRPNHead",
    "SEM_SEG_HEADS": "SemSegFPNHead",
    "TRACKER_HEADS": (
        "BBoxIOUTracker IOUWeightedHungarianBBoxIOUTracker VanillaHungarianBBoxIOUTracker"
    ),
}
