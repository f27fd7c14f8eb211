use pollster::block_on; use seqloom::gpu::*; use seqloom::ops::matmul::*; use seqloom::graph::*; use seqloom::plan::*; use seqloom::tensor::*; use seqloom::op::*;
use seqloom::case::Draw;
fn main() {
    let found = block_on(enumerate());
    let mut gpu = block_on(Gpu::open(&found[0], Options::default())).unwrap();
    let limits = gpu.limits().clone();
    let mut draw = Draw::new(1);
    for (ta,tb,m,n,k) in [(false,true,768,128,128),(false,true,768,512,128),(false,false,768,128,512),(true,false,512,128,768),(true,false,128,128,768),(false,true,768,1000,128),(false,true,1024,1024,1024)] {
        let op = Matmul{layout:[Layout::Matrix;3],trans_a:ta,trans_b:tb,bias:false,activation:Activation::None};
        let a = draw.tensor(&if ta {[k,m]} else {[m,k]}); let b = draw.tensor(&if tb {[n,k]} else {[k,n]});
        let x=[a.ty(),b.ty(),b.ty()]; let y=op.types(&x).unwrap();
        let ls = op.launches(&x,&[&y[0]],&limits.adapter);
        print!("{}{} {m}x{n}x{k}: ", if ta {"T"} else {"N"}, if tb {"T"} else {"N"});
        for l in ls {
            if l.shader.name=="matmul" || l.shader.name=="matmul_ragged" {continue}
            let mut g = Graph::new(); let va=g.input("a",a.ty().clone()); let vb=g.input("b",b.ty().clone());
            let mut vs=vec![]; for _ in 0..4 { vs.push(g.push(op.clone(),&[va,vb,vb])[0]); } for (i,v) in vs.iter().enumerate() {g.output(&format!("y{i}"),*v);}
            let mut plan = Plan::new(g,&limits).unwrap();
            for p in &mut plan.passes { p.launch = l.clone(); }
            let t=std::time::Instant::now();
            let id = block_on(gpu.load(vec![plan])).unwrap();
            let c=t.elapsed().as_secs_f64();
            let mut best=f64::MAX;
            for _ in 0..3 { let s=block_on(gpu.profile(id,&[("a",&a),("b",&b)])).unwrap(); for v in s {best=best.min(v);} }
            print!("[{} {:.1} (c {:.2})] ", l.variant, 2.0*(m*n*k) as f64/best/1e9, c);
        }
        println!();
    }
}
